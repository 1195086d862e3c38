import ClusterSupport
import TestSupport
import Testing

/// Sixteen clients at work while the leader dies again and again.
@Suite(.timeLimit(.minutes(ChaosDuration.load / 30 + 4)))
struct LeaderKillTests {
    private static let period = Duration.seconds(5)

    @Test func `leaders killed under load lose nothing, and the history is linearizable`() async throws {
        try await LoadedCluster.endure { loaded, end in
            var next = ContinuousClock.now + .seconds(2)
            var kills = 0
            while next + .seconds(1) < end {
                await pause(max(.zero, next - .now))
                next += Self.period
                let start = loaded.recorder.now()
                let leader = try await loaded.observatory.leader()
                await loaded.cluster.kill(leader)
                await pause(.seconds(1))
                try loaded.cluster.start(leader)
                loaded.recorder.recordFault("kill", leader, since: start)
                kills += 1
                // Another kill before that would leave two of three down.
                try await loaded.observatory.waitUntilCaughtUp(leader)
            }
            #expect(kills >= max(1, (ChaosDuration.load - 3) / 5))
            return "\(kills) leaders killed"
        }
    }
}
