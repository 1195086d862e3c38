import EsperClient
import EsperProtocol
import EsperTypes
import FoundationEssentials
import GRPCTransport
import NIOCore
import NIOPosix
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)), .serialized)
struct WatchTests {
    private static func answer(_ revision: UInt64, events: [UInt64] = []) -> ProtoWatchResponse {
        .with {
            $0.revision = revision
            $0.events = events.map { revision in
                .with { event in event.kv = .with { ($0.key, $0.modRevision) = (.init([1]), revision) } }
            }
        }
    }

    private static func from(_ request: [UInt8]) -> UInt64 {
        (try? ProtoWatchRequest(serializedBytes: request).fromRevision) ?? 0
    }

    @Test func `a watch goes on behind what it has reported, without gap or repetition`() async throws {
        try await ScriptedServer.run({ _, request, number in
            switch number {
            case 1:
                .messages(
                    [Self.answer(4), Self.answer(5, events: [5]), Self.answer(7, events: [6, 7])],
                    then: .loseConnection)
            case 2: .refuse("draining", .notCommitted, retryable: true)
            case 3:
                // A node that repeats too much must not confuse the client.
                .messages([Self.answer(7, events: [6, 7]), Self.answer(9, events: [7, 8, 9])], then: .success)
            default: .messages([Self.answer(20), Self.answer(21, events: [21])], then: .open)
            }
        }) { server, client in
            var seen: [UInt64] = []
            for try await batch in client.watch(.prefix([])) {
                seen += batch.events.map(\.pair.modRevision)
                if seen.last == 21 { break }
            }
            #expect(seen == [5, 6, 7, 8, 9, 21])
            #expect(server.service.requests(.watch).map(Self.from) == [0, 8, 8, 10])
            try await eventually { server.service.ended.contains(.cancelled) }
        }
    }

    @Test func `a watch of what was compacted says so`() async throws {
        try await ScriptedServer.run({ _, _, _ in
            .messages(
                [ProtoWatchResponse](),
                then: .refuse(
                    GRPCStatus(.outOfRange), .refusal("compacted", .notCommitted, false, oldest: 33)))
        }) { _, client in
            let error = await #expect(throws: EsperError.self) {
                for try await _ in client.watch(.key([1]), fromRevision: 3) {}
            }
            #expect(error?.code == "compacted" && error?.oldestRevision == 33)
        }
    }

    @Test func `progress moves the point of resumption`() async throws {
        try await ScriptedServer.run({ _, _, number in
            number == 1
                ? .messages([Self.answer(4), Self.answer(90)], then: .loseConnection)
                : .messages([Self.answer(91, events: [91])], then: .open)
        }) { server, client in
            for try await batch in client.watch(.key([1]), fromRevision: 2) {
                #expect(batch.events.map(\.pair.modRevision) == [91])
                break
            }
            #expect(server.service.requests(.watch).map(Self.from) == [2, 91])
        }
    }

    @Test func `observers hear each leader once, through lost connections`() async throws {
        func led(_ revision: UInt64, by session: UInt64?) -> ProtoObserveResponse {
            .with {
                $0.revision = revision
                if let session { $0.leadership = .with { ($0.name, $0.sessionID) = ("e", session) } }
            }
        }
        let first = [led(1, by: nil), led(5, by: 1)]
        let second = [led(3, by: nil), led(5, by: 1), led(8, by: 2)]
        try await ScriptedServer.run({ _, _, number in
            number == 1 ? .messages(first, then: .loseConnection) : .messages(second, then: .open)
        }) { _, client in
            var seen: [SessionID?] = []
            for try await (_, leadership) in client.observe("e") {
                seen.append(leadership?.session)
                if seen.count == 3 { break }
            }
            #expect(seen == [nil, SessionID(1), SessionID(2)])
        }
    }

    @Test(.timeLimit(.minutes(1))) func `watches and observations of a closed client end, and begin no more`()
        async throws
    {
        try await ScriptedServer.run({ method, _, _ in
            method == .watch
                ? .messages([Self.answer(1)], then: .open) : .messages([ProtoObserveResponse()], then: .open)
        }) { server, client in
            let watcher = Task { for try await _ in client.watch(.prefix([]), progress: true) {} }
            let observer = Task { for try await _ in client.observe("e") {} }
            try await eventually {
                server.service.requests(.watch).count == 1 && server.service.requests(.observe).count == 1
            }
            client.close()
            for task in [watcher, observer] {
                let error = await #expect(throws: EsperError.self) { try await task.value }
                #expect(error?.code == EsperError.Code.closed && error?.outcome == .notCommitted)
            }
            let late = await #expect(throws: EsperError.self) { for try await _ in client.watch(.prefix([])) {} }
            #expect(late?.code == EsperError.Code.closed)
            let unseen = await #expect(throws: EsperError.self) { for try await _ in client.observe("e") {} }
            #expect(unseen?.code == EsperError.Code.closed)
            #expect(server.service.requests(.watch).count == 1)
        }
    }

    @Test(arguments: 0..<5)
    func `a client whose event loop is shut down is closed`(_: Int) async throws {
        try await ScriptedServer.run({ _, _, _ in .messages([Self.answer(1)], then: .open) }) { server, _ in
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let client = try EsperClient(
                TestFiles.shared.settings([server.endpoint]), options: .impatient, eventLoop: group.next())
            let watcher = Task { for try await _ in client.watch(.prefix([])) {} }
            try await eventually { server.service.requests(.watch).count == 1 }
            try await group.shutdownGracefully()
            let error = await #expect(throws: EsperError.self) { try await watcher.value }
            #expect(error?.code == EsperError.Code.closed)
            let late = await #expect(throws: EsperError.self) { for try await _ in client.watch(.prefix([])) {} }
            #expect(late?.code == EsperError.Code.closed)
            let read = await #expect(throws: EsperError.self) { _ = try await client.get([1]) }
            #expect(read?.code == EsperError.Code.closed)
        }
    }

    @Test func `a watch that is always a message behind keeps no more than that`() async {
        let stream = MessageStream()
        stream.happened(.message([0]))
        for round in 1...20_000 {
            stream.happened(.message([UInt8(truncatingIfNeeded: round)]))
            guard case .message(let message) = await stream.next() else {
                Issue.record("ended in round \(round)")
                return
            }
            #expect(message == [UInt8(truncatingIfNeeded: round - 1)])
        }
        #expect(stream.held.count == 1)
        #expect(stream.held.capacity <= 64)
    }

    @Test func `a watcher that is cancelled stops asking`() async throws {
        try await ScriptedServer.run({ _, _, _ in .messages([Self.answer(1)], then: .open) }) { server, client in
            let watcher = Task {
                for try await _ in client.watch(.prefix([])) {}
            }
            try await eventually { server.service.requests(.watch).count == 1 }
            watcher.cancel()
            try await watcher.value
            try await eventually { server.service.ended == [.cancelled] }
        }
    }
}
