import KernelCache
import Testing

@Suite struct CacheFailureTests {
    @Test func aConflictIsNotRetried() {
        #expect(!CacheFailure(.conflict, "").isRetryable)
        #expect(CacheFailure(.noLeader, "").isRetryable)
    }
}
