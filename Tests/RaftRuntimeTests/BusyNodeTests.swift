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
}
