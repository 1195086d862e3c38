import Coordination
import EsperTypes
import RaftRuntime
import TestSupport
import Testing

/// What need not go to the log, or to the core loop, alone.
@Suite(.timeLimit(.minutes(1))) struct GatheringTests {
    private func put(_ number: UInt64) -> ServiceRequest {
        ServiceRequest(
            token: number, deadline: NodeClock.now() + .seconds(20), principal: "client/test",
            operation: .command(.put(.init(key: Array("\(number)".utf8), value: [1])), nil))
    }

    @Test func `commands that come while a write is on its way share the next one`() async throws {
        try await TestCluster.run(1) { cluster in
            try await cluster.put("before", "1", on: "n1")
            let disk = cluster.disk(of: "n1")
            let sink = TurnSink()
            disk.stall()
            defer { disk.resume() }
            cluster["n1"].submit([put(1)], from: sink)
            // The answer to a question that came behind it: the write is on its way.
            _ = try await cluster.status(of: "n1")
            let writes = disk.durableLogWrites
            for number in UInt64(2)...40 {
                cluster["n1"].submit([put(number)], from: sink)
                _ = try await cluster.status(of: "n1")
            }
            disk.resume()
            for number in UInt64(1)...40 {
                let body = try await eventually("answer \(number)") { sink.answer(to: number) }.body
                guard case .command(let reply) = body, case .put = reply.result else {
                    throw TestCluster.Unexpected(body: "\(body)")
                }
            }
            // The one that hung may not have reached the file when they were counted.
            #expect(disk.durableLogWrites - writes <= 2)
        }
    }

    @Test
    func `a short read of the state as it stands is answered without the core loop, and never from before a change`()
        async throws
    {
        try await TestCluster.run(1) { cluster in
            let node = cluster["n1"]
            let key = Array("k".utf8)
            let one = Query.range(RangeRequest(.key(key)))
            func value(_ reply: QueryReply?) -> [UInt8]? {
                guard case .range(let range)? = reply?.result else { return nil }
                return range.keyValues.first?.value
            }
            var answers = 0
            for round in UInt8(1)...20 {
                try await cluster.command(.put(.init(key: key, value: [round])), on: "n1")
                // Nil, or what was written: whoever has been told of a write sees it.
                if let seen = value(node.answer(one, to: "client/test")) { #expect(seen == [round]) }
                _ = try await cluster.read(one, on: "n1", linearizable: false)
                if let seen = value(node.answer(one, to: "client/test")) {
                    #expect(seen == [round])
                    answers += 1
                }
            }
            // The node itself seldom has a change to make in between.
            #expect(answers > 0)
            #expect(node.answer(.range(RangeRequest(.prefix(key))), to: "client/test") == nil)
            for command: AuthCommand in [
                .addUser(name: "root", passwordHash: []), .addRole(name: "root"),
                .grantRole(user: "root", role: "root"),
                .enable(secret: [UInt8](repeating: 1, count: 32)),
            ] {
                try await cluster.command(.auth(command), on: "n1")
            }
            _ = try? await cluster.read(one, on: "n1", linearizable: false)
            if let reply = node.answer(one, to: "client/stranger") {
                #expect(reply.result == .refused(.permissionDenied))
            }
        }
    }
}
