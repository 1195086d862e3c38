import EsperClient
import EsperProtocol
import EsperTypes
import FoundationEssentials
import GRPCTransport
import NIOCore
import NIOPosix
import SwiftProtobuf
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)), .serialized)
struct OperationTests {
    @Test func `a lost reply is asked for again under the same request id`() async throws {
        try await ScriptedServer.run({ _, _, number in number == 1 ? .loseConnection : .committed(7) }) {
            server, client in
            let commit = try await client.put([1], [2])
            #expect(commit.revision == 7)
            let ids = try server.service.requests(.put).map { try ProtoPutRequest(serializedBytes: $0).requestID }
            #expect(ids.count == 2)
            #expect(ids[0] == ids[1])
            #expect(ids[0].clientID == 101 && ids[0].sequence == 1)
        }
    }

    @Test func `a refusal that may pass is asked again under another request id, for the first is answered for ever`()
        async throws
    {
        try await ScriptedServer.run({ _, _, number in
            number < 3 ? .refuse("outbox_full", .notCommitted, retryable: true) : .committed(7)
        }) { server, client in
            let commit = try await client.put([1], [2])
            #expect(commit.revision == 7)
            let ids = try server.service.requests(.put).map { try ProtoPutRequest(serializedBytes: $0).requestID }
            #expect(ids.map(\.sequence) == [1, 2, 3])
        }
    }

    @Test(arguments: ["storage_full", "outbox_full", "overloaded", "tier_unavailable"])
    func `a refusal that lasts as long as the operation is its error`(code: String) async throws {
        try await ScriptedServer.run({ _, _, _ in .refuse(code, .notCommitted, retryable: true) }) { server, client in
            let error = await #expect(throws: EsperError.self) { try await client.put([1], [2]) }
            #expect(error?.code == code && error?.outcome == .notCommitted && error?.isRetryable == true)
            #expect(server.service.requests(.put).count > 1)
        }
    }

    @Test func `a refusal that did not last is not the error`() async throws {
        try await ScriptedServer.run({ _, _, number in
            .refuse(number == 1 ? "outbox_full" : "timed_out", .notCommitted, retryable: true)
        }) { server, client in
            let error = await #expect(throws: EsperError.self) { try await client.put([1], [2]) }
            #expect(error?.code == "timed_out" && error?.outcome == .notCommitted, "\(error as Any)")
            #expect(server.service.requests(.put).count > 2)
        }
    }

    @Test func `a last attempt with too little time left does not hide the refusal before`() async throws {
        let clock = ContinuousClock()
        let late = Mutex<ContinuousClock.Instant?>(nil)
        try await ScriptedServer.run({ _, _, _ in
            let now = clock.now
            let isLate = late.withLock { late in
                late = late ?? now + ClientOptions.impatient.timeout - .milliseconds(90)
                return late.map { now >= $0 } ?? false
            }
            return .refuse(isLate ? "timed_out" : "outbox_full", .notCommitted, retryable: true)
        }) { _, client in
            let error = await #expect(throws: EsperError.self) { try await client.put([1], [2]) }
            #expect(error?.code == "outbox_full" && error?.outcome == .notCommitted, "\(error as Any)")
        }
    }

    @Test func `an operation that finds no node says why, also before it was ever sent`() async throws {
        var options = ClientOptions.impatient
        options.timeout = .milliseconds(100)
        // Port 1 is privileged, and nobody listens there.
        let client = try EsperClient(TestFiles.shared.settings(["127.0.0.1:1"]), options: options)
        defer { client.close() }
        for change in [true, false] {
            let error = await #expect(throws: EsperError.self) {
                if change { try await client.put([1], [2]) } else { _ = try await client.get([1]) }
            }
            #expect(error?.code == "timed_out" && error?.outcome == .notCommitted)
            #expect(error?.message.hasSuffix("unavailable: 127.0.0.1:1: connection refused") == true, "\(error as Any)")
        }
    }

    @Test func `an attempt without an answer is repeated elsewhere in time`() async throws {
        try await ScriptedServer.run({ _, _, number in number == 1 ? .silence : .committed(7) }) { server, client in
            let commit = try await client.put([1], [2])
            #expect(commit.revision == 7)
            #expect(server.service.requests(.put).count == 2)
        }
    }

    @Test func `finished commands are acknowledged and sequences go on`() async throws {
        try await ScriptedServer.run({ _, _, number in .committed(UInt64(number)) }) { server, client in
            for _ in 0..<3 { try await client.put([1], [2]) }
            let ids = try server.service.requests(.put).map { try ProtoPutRequest(serializedBytes: $0).requestID }
            #expect(ids.map(\.sequence) == [1, 2, 3])
            #expect(ids.map(\.acknowledgedThrough) == [0, 1, 2])
            #expect(server.service.clients == 1)
        }
    }

    @Test func `many commands at once use several client ids, each within its window`() async throws {
        try await ScriptedServer.run({ _, _, number in .committed(UInt64(number)) }) { server, client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<500 { group.addTask { try await client.put([UInt8(number & 255)], [2]) } }
                try await group.waitForAll()
            }
            let ids = try server.service.requests(.put).map { try ProtoPutRequest(serializedBytes: $0).requestID }
            #expect(Set(ids.map { [$0.clientID, $0.sequence] }).count == 500)
            #expect(ids.allSatisfy { $0.sequence - $0.acknowledgedThrough <= RequestIdentities.window })
        }
    }

    @Test func `a leader hint is followed and remembered`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let leader = try await ScriptedServer.start(on: group) { _, _, number in .committed(UInt64(number)) }
        let hint = leader.endpoint
        let follower = try await ScriptedServer.start(on: group) { _, _, _ in
            .refuse("not_leader", .notCommitted, retryable: true, leader: hint)
        }
        let client = try EsperClient(TestFiles.shared.settings([follower.endpoint]), options: .impatient)
        for expected: UInt64 in 1...3 {
            let commit = try await client.put([1], [2])
            #expect(commit.revision == expected)
        }
        #expect(follower.service.requests(.put).count == 1)
        #expect(leader.service.requests(.put).count == 3)
        client.close()
        try await group.shutdownGracefully()
    }

    @Test func `the leader is found by asking any node`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let leader = try await ScriptedServer.start(on: group) { _, _, number in .committed(UInt64(number)) }
        let follower = try await ScriptedServer.start(on: group, leaderEndpoint: leader.endpoint) { _, _, number in
            .committed(UInt64(number))
        }
        let client = try EsperClient(TestFiles.shared.settings([follower.endpoint]), options: .impatient)
        try await eventually {
            try await client.put([1], [2])
            return leader.service.requests(.put).count > 0
        }
        client.close()
        try await group.shutdownGracefully()
    }

    @Test func `the next endpoint is asked when one is dead`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let alive = try await ScriptedServer.start(on: group) { _, _, number in .committed(UInt64(number)) }
        let dead = try await ScriptedServer.start(on: group) { _, _, _ in .silence }
        try await dead.channel.close()
        let client = try EsperClient(
            TestFiles.shared.settings([dead.endpoint, alive.endpoint]), options: .impatient)
        for expected: UInt64 in 1...3 {
            let commit = try await client.put([1], [2])
            #expect(commit.revision == expected)
        }
        client.close()
        try await group.shutdownGracefully()
    }

    /// What a cluster may do to a put until time is up, and what the client may then say.
    enum Trouble: CaseIterable {
        case refusedForNow, refusedForGood, neverAnswered, connectionsLost, lostThenRefusedForNow
        case lostThenRefusedForGood, unknownSaidTheServer

        func react(_ number: Int) -> Reaction {
            switch self {
            case .refusedForNow: .refuse("no_quorum", .notCommitted, retryable: true)
            case .refusedForGood: .refuse("session_not_found", .notCommitted, retryable: false)
            case .neverAnswered: .silence
            case .connectionsLost: .loseConnection
            case .lostThenRefusedForNow:
                number == 1 ? .loseConnection : .refuse("no_quorum", .notCommitted, retryable: true)
            case .lostThenRefusedForGood:
                number == 1 ? .loseConnection : .refuse("session_not_found", .notCommitted, retryable: false)
            case .unknownSaidTheServer: .refuse("request_expired", .unknown, retryable: false)
            }
        }

        var outcome: Outcome {
            switch self {
            case .refusedForNow, .refusedForGood, .lostThenRefusedForGood: .notCommitted
            case .neverAnswered, .connectionsLost, .lostThenRefusedForNow, .unknownSaidTheServer: .unknown
            }
        }
    }

    @Test(arguments: Trouble.allCases)
    func `not committed and unknown are kept apart`(trouble: Trouble) async throws {
        try await ScriptedServer.run({ _, _, number in trouble.react(number) }) { server, client in
            let error = await #expect(throws: EsperError.self) { try await client.put([1], [2]) }
            #expect(error?.outcome == trouble.outcome, "\(String(describing: error))")
            let ids = try server.service.requests(.put).map { try ProtoPutRequest(serializedBytes: $0).requestID }
            #expect(Set(ids.map(\.sequence)) == [1])
        }
    }

    @Test func `a command that never reached anybody is not committed`() async throws {
        let client = try EsperClient(TestFiles.shared.settings(["127.0.0.1:1"]), options: .impatient)
        let error = await #expect(throws: EsperError.self) { try await client.put([1], [2]) }
        #expect(error?.outcome == .notCommitted)
        client.close()
    }

    @Test func `a forgotten client id is replaced`() async throws {
        try await ScriptedServer.run({ _, request, _ in
            let id = (try? ProtoPutRequest(serializedBytes: request).requestID.clientID) ?? 0
            return id == 101 ? .refuse("client_unknown", .unknown, retryable: false) : .committed(1)
        }) { server, client in
            let commit = try await client.put([1], [2])
            #expect(commit.revision == 1)
            #expect(server.service.clients == 2)
        }
    }

    @Test func `a command without request id is not repeated once it may have arrived`() async throws {
        try await ScriptedServer.run({ _, _, _ in .loseConnection }) { server, client in
            let error = await #expect(throws: EsperError.self) { try await client.transferLeadership(to: "n2") }
            #expect(error?.outcome == .unknown)
            #expect(server.service.requests(.transferLeadership).count == 1)
        }
    }

    @Test func `reads are repeated and never unknown`() async throws {
        try await ScriptedServer.run({ _, _, number in
            number < 3
                ? .loseConnection
                : .reply(
                    ProtoGetResponse.with {
                        $0.revision = 4
                        $0.kv = .with { ($0.key, $0.value, $0.sessionID) = (.init([1]), .init([9]), 5) }
                    })
        }) { _, client in
            let (pair, revision) = try await client.get([1])
            #expect(pair?.value == [9] && pair?.session == SessionID(5) && revision == 4)
        }
        try await ScriptedServer.run({ _, _, _ in .silence }) { _, client in
            let error = await #expect(throws: EsperError.self) { try await client.get([1]) }
            #expect(error?.outcome == .notCommitted && error?.code == EsperError.Code.timedOut)
        }
    }

    @Test func `a cancelled put is unknown once it was sent`() async throws {
        try await ScriptedServer.run({ _, _, _ in .silence }) { server, client in
            let put = Task { try await client.put([1], [2]) }
            try await eventually { server.service.requests(.put).count == 1 }
            put.cancel()
            let error = await #expect(throws: EsperError.self) { try await put.value }
            #expect(error?.code == EsperError.Code.cancelled && error?.outcome == .unknown)
            try await eventually { server.service.ended == [.cancelled] }
        }
    }

    @Test func `settings that are no good are told before anything is sent`() {
        for path in ["/nonexistent/client.yaml", "/dev/null"] {
            let error = #expect(throws: EsperError.self) { try ClientSettings.load(path) }
            #expect(error?.code == EsperError.Code.settings)
        }
        let error = #expect(throws: EsperError.self) {
            try EsperClient(
                ClientSettings(endpoints: ["a:1"], authority: "/x", certificate: "/x", privateKey: "/x"))
        }
        #expect(error?.code == EsperError.Code.settings)
    }
}
