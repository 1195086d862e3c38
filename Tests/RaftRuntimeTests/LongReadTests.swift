import Coordination
import EsperTypes
import RaftRuntime
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(3)))
struct LongReadTests {
    private static let keys = 1_000_000

    private func load(_ count: Int, into cluster: TestCluster, on name: String) async throws {
        let operations = 100
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (position, start) in stride(from: 0, to: count, by: operations).enumerated() {
                if position >= 64 { _ = try await group.next() }
                group.addTask {
                    let puts = (start..<min(start + operations, count)).map { number in
                        Transaction.Operation.put(.init(key: Self.key(number), value: []))
                    }
                    try await cluster.command(.transaction(.init(success: puts)), on: name, timeout: .seconds(60))
                }
            }
            try await group.waitForAll()
        }
    }

    private static func key(_ number: Int) -> [UInt8] { Array("many/\(number)".utf8) }

    private func request(
        _ token: UInt64, _ query: Query, linearizable: Bool = false, within limit: Duration = .seconds(60)
    ) -> ServiceRequest {
        ServiceRequest(
            token: token, deadline: NodeClock.now() + limit, principal: "client/test",
            operation: .query(query, linearizable: linearizable))
    }

    private func found(_ body: ServiceReply.Body) throws -> (range: RangeReply, revision: Revision) {
        guard case .query(let reply) = body, case .range(let range) = reply.result else {
            throw TestCluster.Unexpected(body: "\(body)")
        }
        return (range, reply.revision)
    }

    @Test(arguments: [false, true])
    func `a range of a million keys keeps nobody waiting, and is of one moment`(linearizable: Bool) async throws {
        try await TestCluster.run(1) { cluster in
            try await load(Self.keys, into: cluster, on: "n1")
            let all = Query.range(RangeRequest(.prefix(Array("many/".utf8))))
            let one = Query.range(RangeRequest(.key(Self.key(7))))
            let sink = TurnSink()
            // Asked for first, in one batch with a question that takes no time.
            cluster["n1"].submit(
                [request(1, all, linearizable: linearizable), request(2, one, linearizable: linearizable)], from: sink)
            let short = try await eventually("the short one") { sink.answer(to: 2) }
            // Behind the copy, whenever that was taken: changes go on meanwhile.
            let written = try await cluster.command(
                .put(.init(key: Array("many/zzz".utf8), value: [])), on: "n1")
            let long = try await eventually("the long one", within: .seconds(60)) { sink.answer(to: 1) }
            #expect(short.turn < long.turn, "the loop came round while the range was read")
            #expect(try found(short.body).range.count == 1)
            let (range, revision) = try found(long.body)
            let count = revision < written.revision ? Self.keys : Self.keys + 1
            #expect(range.count == count && range.keyValues.count == count && !range.more)
        }
    }

    @Test func `a long read whose time is over is refused, and the next ones are answered`() async throws {
        try await TestCluster.run(1) { cluster in
            try await load(200_000, into: cluster, on: "n1")
            let all = Query.range(RangeRequest(.prefix(Array("many/".utf8))))
            let sink = TurnSink()
            // More than are read at a time; the last ones have no time at all.
            cluster["n1"].submit((1...8).map { request($0, all) }, from: sink)
            cluster["n1"].submit((9...16).map { request($0, all, within: .milliseconds(1)) }, from: sink)
            for token in UInt64(1)...8 {
                let body = try await eventually("answer \(token)", within: .seconds(60)) { sink.answer(to: token) }.body
                #expect(try found(body).range.count == 200_000)
            }
            for token in UInt64(9)...16 {
                guard case .failed(let failure) = try await eventually("end \(token)", { sink.answer(to: token) }).body
                else {
                    Issue.record("\(token) was read in no time")
                    continue
                }
                #expect(failure.code == .timedOut && failure.outcome == .notCommitted)
            }
        }
    }

    @Test func `permissions are judged for long reads too`() async throws {
        try await TestCluster.run(1) { cluster in
            try await load(5000, into: cluster, on: "n1")
            for command: AuthCommand in [
                .addUser(name: "root", passwordHash: []), .addRole(name: "root"),
                .grantRole(user: "root", role: "root"),
                .enable(secret: [UInt8](repeating: 1, count: 32)),
            ] {
                try await cluster.command(.auth(command), on: "n1")
            }
            let all = Query.range(RangeRequest(.prefix(Array("many/".utf8))))
            let body = await cluster["n1"].call(
                .query(all, linearizable: true), principal: "client/stranger", timeout: .seconds(20))
            guard case .query(let reply) = body else { throw TestCluster.Unexpected(body: "\(body)") }
            #expect(reply.result == .refused(.permissionDenied))
        }
    }
}
