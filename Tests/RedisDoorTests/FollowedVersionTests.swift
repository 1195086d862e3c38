import RedisDoor
import Testing

@Suite struct FollowedVersionTests {
    /// redis-py's client-side cache asks for 7.4 at least.
    @Test func isNewEnough() { #expect(followedRedisVersion.hasPrefix("7.4.")) }
}
