import Coordination
import EsperTypes
import RaftRuntime
import Testing

/// A node with much to apply must not be lost to its peers meanwhile.
@Suite(.timeLimit(.minutes(2)))
struct CatchUpTests {
    /// A command that takes long to apply: it writes as many keys as a transaction may.
    private static func slow(_ number: Int) -> Command {
        let value = Array("\(number)".utf8)
        return .transaction(
            Transaction(
                success: (0..<Limits.transactionOperations).map { key in
                    .put(.init(key: Array("k\(number % 64)/\(key)".utf8), value: value))
                }))
    }

    @Test func `a node with much to apply goes on listening`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let late = try await cluster.follower()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        for number in 0..<150 {
                            _ = try await cluster.command(Self.slow(worker * 150 + number), on: leader)
                        }
                    }
                }
                try await group.waitForAll()
            }
            let before = try await cluster.status(of: leader)
            await cluster.stop(late)
            try await cluster.start(late, replays: false)

            // Asked again and again, it answers between two parts of the work.
            var partly = 0
            var applied = LogIndex.zero
            while applied < before.appliedIndex {
                let status = try await cluster.status(of: late)
                if status.appliedIndex > applied, status.appliedIndex < before.appliedIndex { partly += 1 }
                applied = status.appliedIndex
            }
            #expect(partly >= 5, "its loop was busy from beginning to end")
        }
    }
}
