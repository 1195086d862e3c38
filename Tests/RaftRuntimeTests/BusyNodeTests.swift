import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// A node that is always asked for something must not be lost to its peers.
@Suite(.timeLimit(.minutes(2)))
struct BusyNodeTests {
    /// Asks again in the moment in which it is answered, as enough clients together do, until it is told of a key.
    private final class Insatiable: ReplySink {
        private let node: NodeHandle
        private let key: [UInt8]
        private let seen = Atomic(false)

        init(_ node: NodeHandle, until key: String) {
            self.node = node
            self.key = Array(key.utf8)
        }

        var hasSeen: Bool { seen.load(ordering: .relaxed) }

        func ask() {
            node.submit(
                [
                    ServiceRequest(
                        token: 1, deadline: NodeClock.now() + .seconds(60), principal: "client/test",
                        operation: .query(.range(RangeRequest(.key(key))), linearizable: false))
                ], from: self)
        }

        func deliver(_ replies: [ServiceReply]) {
            guard case .query(let answer)? = replies.first?.body, case .range(let range) = answer.result,
                range.keyValues.isEmpty
            else { return seen.store(true, ordering: .relaxed) }
            ask()
        }
    }

    @Test(arguments: [true, false])
    func `a node that is asked without a pause goes on listening to its peers`(isLeader: Bool) async throws {
        var options = RuntimeOptions()
        (options.raft.heartbeatInterval, options.raft.electionTimeout) = (.milliseconds(100), .seconds(1))
        try await TestCluster.run(3, options: options) { cluster in
            let (leader, follower) = (try await cluster.leader(), try await cluster.follower())
            try await cluster.put("before", "1", on: follower)
            let (busy, other) = isLeader ? (leader, follower) : (follower, leader)
            let asker = Insatiable(cluster[busy], until: "during")
            asker.ask()
            try await cluster.put("during", "2", on: other)
            try await until("\(busy) to hear of it") { asker.hasSeen }
        }
    }

    /// Counts those that were told of an event.
    private final class Watchers: ReplySink {
        private let tokens = Mutex<Set<UInt64>>([])

        var told: Int { tokens.withLock { $0.count } }

        func deliver(_ replies: [ServiceReply]) {
            for reply in replies {
                guard case .watch(let delivery) = reply.body, case .events(let events, _) = delivery.content,
                    !events.isEmpty
                else { continue }
                tokens.withLock { _ = $0.insert(reply.token) }
            }
        }
    }

    @Test func `a leader with many watchers far behind goes on listening to its followers`() async throws {
        var options = RuntimeOptions()
        (options.raft.heartbeatInterval, options.raft.electionTimeout) = (.milliseconds(200), .seconds(2))
        try await TestCluster.run(3, options: options) { cluster in
            let leader = try await cluster.leader()
            for number in 0..<25_000 / Limits.transactionOperations {
                let value = Array("\(number)".utf8)
                try await cluster.command(
                    .transaction(
                        Transaction(
                            success: (0..<Limits.transactionOperations).map {
                                .put(.init(key: Array("\($0)".utf8), value: value))
                            })), on: leader)
            }
            let term = try await cluster.status(of: leader).term
            let watchers = Watchers()
            let count = 2000
            cluster[leader].submit(
                (0..<count).map { token in
                    ServiceRequest(
                        token: UInt64(token), deadline: NodeClock.now() + .seconds(60), principal: "client/test",
                        operation: .watch(WatchRequest(.key(Array("told".utf8)), fromRevision: Revision(1))))
                }, from: watchers)
            try await cluster.put("told", "1", on: leader)
            try await until("all that watch to be told", within: .seconds(60)) { watchers.told == count }
            let status = try await cluster.status(of: leader)
            #expect(status.term == term && status.leader == leader)
        }
    }
}
