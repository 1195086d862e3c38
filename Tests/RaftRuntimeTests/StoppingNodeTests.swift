import Coordination
import EsperTypes
import RaftRuntime
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct `A node that stops` {
    /// Many that ask again in the moment in which they are answered, until they are refused. Before the loop looks at its links it
    /// cannot answer all of them: some always wait to be begun.
    private final class Crowd: ReplySink {
        private let node: NodeHandle
        private let told = Mutex<[UInt64: [ServiceFailure]]>([:])

        init(_ node: NodeHandle) { self.node = node }

        /// All that each was told; what has begun is answered otherwise.
        var refusals: [UInt64: [ServiceFailure]] { told.withLock { $0 } }

        /// Each by itself: the loop may go elsewhere between any two.
        func ask(_ token: UInt64) {
            node.submit(
                [
                    ServiceRequest(
                        token: token, deadline: NodeClock.now() + .seconds(60), principal: "client/test",
                        operation: .query(.range(RangeRequest(.key([1]))), linearizable: false))
                ], from: self)
        }

        func deliver(_ replies: [ServiceReply]) {
            for reply in replies {
                if case .failed(let failure) = reply.body {
                    told.withLock { $0[reply.token, default: []].append(failure) }
                } else {
                    ask(reply.token)
                }
            }
        }
    }

    @Test func `refuses what had arrived and not begun, and all that comes later, each once`() async throws {
        try await TestCluster.run(1) { cluster in
            let node = cluster["n1"]
            let crowd = Crowd(node)
            let tokens = UInt64(1)...20_000
            for token in tokens { crowd.ask(token) }
            await cluster.stop("n1")
            try await until("the last of them to be refused") { crowd.refusals.count == tokens.count }
            let refusals = crowd.refusals.values
            #expect(refusals.allSatisfy { $0.count == 1 })
            #expect(refusals.joined().allSatisfy { $0.code == .draining && $0.outcome == .notCommitted })

            let late = TurnSink()
            let deadline = NodeClock.now() + .seconds(60)
            let operations: [ServiceRequest.Operation] = [
                .command(.put(.init(key: [1], value: [2])), nil), .status, .cancel,
            ]
            let requests = zip(UInt64(1)..., operations).map {
                ServiceRequest(token: $0, deadline: deadline, principal: "client/test", operation: $1)
            }
            node.submit(requests, from: late)
            try await until("an answer") { late.answer(to: 1) != nil }
            let replies = late.delivered.replies
            // Whoever gives a request up waits for no answer.
            #expect(replies.map(\.token) == [1, 2])
            for reply in replies {
                guard case .failed(let failure) = reply.body else {
                    throw TestCluster.Unexpected(body: "\(reply.body)")
                }
                #expect(failure.code == .draining && failure.outcome == .notCommitted)
            }
        }
    }
}
