import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import RaftStorage
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct `A disk that hangs` {
    @Test func `under the leader costs it the leadership, and no write`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            try await cluster.put("before", "1", on: leader)
            let disk = cluster.disk(of: leader)
            disk.stall()
            defer { disk.resume() }
            // The two others have it on their disks; the leader's own hangs on to it, and so it hands over.
            try await cluster.put("during", "2", on: try await cluster.follower())
            let next = try await cluster.leader(otherThan: leader)
            try await cluster.put("after", "3", on: next)
            disk.resume()
            for (key, value) in [("before", "1"), ("during", "2"), ("after", "3")] {
                #expect(try await cluster.get(key, on: leader) == value)
            }
        }
    }

    @Test func `and what came meanwhile make a leader refuse more, until it has all been written`()
        async throws
    {
        var options = RuntimeOptions()
        options.raft.storageStallLimit = .seconds(30)
        let storage = StorageOptions(segmentBytes: 1 << 20, congestedQueueBytes: 64 << 10)
        try await TestCluster.run(1, options: options, storage: storage) { cluster in
            try await cluster.waitUntilQuiet("n1")
            let (disk, sink) = (cluster.disk(of: "n1"), TurnSink())
            disk.stall()
            defer { disk.resume() }
            // So much does not wait for the write before it.
            func burst(_ tokens: ClosedRange<UInt64>) {
                let value = [UInt8](repeating: 1, count: 50 << 10)
                let requests = tokens.map { token in
                    ServiceRequest(
                        token: token, deadline: NodeClock.now() + .seconds(30), principal: "client/test",
                        operation: .command(.put(.init(key: [UInt8(token)], value: value)), nil))
                }
                cluster["n1"].submit(requests, from: sink)
            }
            burst(1...6)
            // Answered behind it: it is in the log's queue, which is longer than it should be.
            _ = try await cluster.status(of: "n1")
            burst(7...12)
            let refused = try await eventually("a refusal") { sink.answer(to: 12) }.body
            guard case .failed(let failure) = refused else { throw TestCluster.Unexpected(body: "\(refused)") }
            #expect(failure.code == .overloaded && failure.outcome == .notCommitted)
            disk.resume()
            let written = try await eventually("the first burst") { sink.answer(to: 6) }.body
            guard case .command = written else { throw TestCluster.Unexpected(body: "\(written)") }
            try await cluster.put("after", "3", on: "n1")
        }
    }
}
