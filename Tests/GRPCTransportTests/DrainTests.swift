import GRPCTransport
import NIOCore
import Synchronization
import Testing

/// A server that stops while everybody is talking to it.
@Suite(.timeLimit(.minutes(1)), .serialized)
struct DrainTests {
    private final class Tally: Sendable {
        struct Counts {
            var answered = 0
            var refused = 0
            var lost: [String] = []
        }

        private let counts = Mutex(Counts())

        var now: Counts { counts.withLock { $0 } }
        func count(_ change: (inout Counts) -> Void) { counts.withLock { change(&$0) } }
    }

    @Test(arguments: [EchoService.Method.unary, .later])
    func `no reply is lost when a server drains under load`(method: EchoService.Method) async throws {
        try await EchoServer.run { server in
            let connections = try await withThrowingTaskGroup(of: ClientConnection.self) { group in
                for _ in 0..<8 { group.addTask { try await server.connect() } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let tally = Tally()
            let streams = connections.map { connection in
                let recorder = StreamRecorder()
                _ = recorder.open(.quick, [1], single: false, on: connection)
                return recorder
            }
            try await eventually { streams.allSatisfy { $0.messages == [1] } }
            await withTaskGroup(of: Void.self) { group in
                for connection in connections {
                    for caller in 0..<16 {
                        group.addTask { await Self.call(method, caller, on: connection, tally) }
                    }
                }
                group.addTask {
                    // Enough is going on.
                    try? await eventually { tally.now.answered > 2000 }
                    await server.server.drain(deadline: .now() + .seconds(30), on: server.group.any())
                }
            }
            let result = tally.now
            #expect(result.lost == [])
            #expect(result.refused == connections.count * 16)
            // What the service answered is what the clients got, to the last.
            #expect(server.service.seen.batches.reduce(0, +) == result.answered)
            #expect(server.service.seen.drained == streams.count)
            for stream in streams {
                let failure = #expect(throws: CallFailure.self) { try stream.ending?.get() }
                #expect(failure?.status == GRPCStatus(.unavailable, "the server is stopping"))
            }
            for connection in connections { try await connection.closed.get() }
            #expect(server.server.connectionCount == 0)
        }
    }

    /// Until the connection takes no more.
    private static func call(
        _ method: EchoService.Method, _ caller: Int, on connection: ClientConnection, _ tally: Tally
    ) async {
        var number = 0
        while true {
            number += 1
            let message = [UInt8(caller), UInt8(truncatingIfNeeded: number), UInt8(truncatingIfNeeded: number >> 8)]
            switch await connection.call(method, message, timeout: .seconds(30)) {
            case .success(let reply):
                tally.count { tally in
                    if reply.message == message { tally.answered += 1 } else { tally.lost.append("a wrong answer") }
                }
            case .failure(let failure):
                tally.count { tally in
                    if failure.mayHaveArrived { tally.lost.append("\(failure)") } else { tally.refused += 1 }
                }
                return
            }
        }
    }

    @Test func `the first farewell admits every stream, the second names the last`() async throws {
        try await EchoServer.run { server in
            let (client, channel) = try await RawClient.connect(to: server)
            try await channel.send(
                RawClient.preface + RawClient.settings
                    + RawClient.frame(1, flags: 4, stream: 1, RawClient.request("/test.Echo/chat")))
            try await eventually { server.service.seen.opened == 1 }
            let drained = Task {
                await server.server.drain(deadline: .now() + .seconds(30), on: server.group.any())
            }
            try await eventually { client.received.frames.contains { $0.type == 7 } }
            // Sent before the PING came back: admitted.
            try await channel.send(RawClient.frame(1, flags: 4, stream: 3, RawClient.request("/test.Echo/chat")))
            try await eventually { server.service.seen.opened == 2 }
            let ping = client.received.frames.last { $0.type == 6 && $0.flags == 0 }
            try await channel.send(RawClient.frame(6, flags: 1, ping?.payload ?? []))
            try await eventually { client.received.frames.count { $0.type == 7 } == 2 }
            let farewells = client.received.frames.filter { $0.type == 7 }.map { [UInt8]($0.payload.prefix(4)) }
            #expect(farewells == [[0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 3]])
            for stream in [1, 3] as [UInt32] { try await channel.send(RawClient.frame(0, flags: 1, stream: stream)) }
            try await eventually { client.closed }
            let ends = client.received.frames.filter { $0.type == 1 && $0.flags & 1 == 1 }
            #expect(ends.count == 2)
            await drained.value
        }
    }
}
