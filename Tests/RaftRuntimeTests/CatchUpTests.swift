import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import TestSupport
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

    @Test func `a write that a snapshot brings to the node it was asked of has an unknown outcome`() async throws {
        var options = RuntimeOptions()
        // The leader keeps its place, whatever the machine is doing, and the other one while its disk hangs.
        (options.raft.heartbeatInterval, options.raft.electionTimeout) = (.milliseconds(100), .seconds(3))
        options.raft.storageStallLimit = .seconds(60)
        options.snapshotAfterBytes = 256 << 10
        // Nothing is kept for one who is behind.
        options.raft.maximumRetainedBytes = 0
        try await TestCluster.run(3, options: options, adjust: { $1.retainedTailBytes = 0 }) { cluster in
            let leader = try await cluster.leader()
            let late = try await cluster.follower()
            try await cluster.waitUntilQuiet(late)
            let disk = cluster.disk(of: late)
            disk.stall()
            defer { disk.resume() }
            // More messages than the leader sends to one who does not answer: what comes after these stays with it.
            for number in 0..<2 * options.raft.maximumInFlightAppends {
                try await cluster.put("before", "\(number)", on: leader)
            }
            let sink = TurnSink()
            let put = Command.put(.init(key: Array("key".utf8), value: Array("value".utf8)))
            let deadline = NodeClock.now() + .seconds(60)
            cluster[late].submit(
                [.init(token: 1, deadline: deadline, principal: "client/test", operation: .command(put, nil))],
                from: sink)
            try await until("the write is committed") { try await cluster.get("key", on: leader) == "value" }
            let committed = try await cluster.status(of: leader).commitIndex
            // The second one begins when the log has been cut at the first.
            var covering: Set<LogIndex> = []
            let value = String(repeating: "x", count: 4000)
            try await until("two snapshots without the log before them", within: .seconds(60)) {
                for number in 0..<16 { try await cluster.put("after", value + "\(number)", on: leader) }
                covering.formUnion(try cluster.snapshots(of: leader).map(\.index).filter { $0 >= committed })
                return covering.count >= 2
            }
            #expect(sink.answer(to: 1) == nil)
            disk.resume()
            let answer = try await eventually("an answer", within: .seconds(60)) { sink.answer(to: 1)?.body }
            guard case .failed(let failure) = answer else { throw TestCluster.Unexpected(body: "\(answer)") }
            #expect(failure.code == .leadershipChanged)
            #expect(failure.outcome == .unknown)
            #expect(try await cluster.get("key", on: late) == "value")
        }
    }
}
