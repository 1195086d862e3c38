import GRPCTransport
import NIOCore
import NIOEmbedded
import Testing

/// No connection keeps its event loop for long.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct FairnessTests {
    /// A connection without a network: what it writes is taken at once, so nothing but the server bounds a turn.
    private struct Plain {
        let channel: EmbeddedChannel

        init(_ server: GRPCServer, _ loop: EmbeddedEventLoop) throws {
            channel = EmbeddedChannel(loop: loop)
            try server.attach(to: channel, principal: "tester")
            channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
            try channel.writeInbound(ByteBuffer(bytes: RawClient.preface + RawClient.openWindows))
            _ = try written()
        }

        func call(_ method: EchoService.Method, _ message: [UInt8], stream: UInt32) throws {
            let prefix = [0] + withUnsafeBytes(of: UInt32(message.count).bigEndian) { [UInt8]($0) }
            try channel.writeInbound(
                ByteBuffer(
                    bytes: RawClient.frame(1, flags: 4, stream: stream, RawClient.request(method.path))
                        + RawClient.frame(0, flags: 1, stream: stream, prefix + message)))
        }

        func written() throws -> [UInt8] {
            var bytes: [UInt8] = []
            while let buffer = try channel.readOutbound(as: ByteBuffer.self) { bytes += [UInt8](buffer: buffer) }
            return bytes
        }
    }

    @Test func `an enormous stream is written a turn at a time, and others have theirs between`() throws {
        let loop = EmbeddedEventLoop()
        let service = EchoService()
        let server = GRPCServer(service: service, methods: service.methods)
        let greedy = try (0..<6).map { _ in try Plain(server, loop) }
        let modest = try Plain(server, loop)
        let total = 300 * 10_005
        var sent = Array(repeating: 0, count: greedy.count)
        for (number, connection) in greedy.enumerated() {
            try connection.call(.expand, EchoService.expansion(count: 300, bytes: 10_000), stream: 1)
            sent[number] = try connection.written().count
            #expect(sent[number] > 100_000)
            #expect(sent[number] < 600_000)
        }
        var rounds = 0
        while sent.contains(where: { $0 < total }) {
            try modest.call(.unary, [1, 2, 3], stream: UInt32(2 * rounds + 1))
            #expect(try modest.written().frames.contains { $0.type == 0 && $0.payload == [0, 0, 0, 0, 3, 1, 2, 3] })
            loop.advanceTime(by: .microseconds(60))
            var round = 0
            for (number, connection) in greedy.enumerated() {
                let count = try connection.written().count
                sent[number] += count
                round += count
            }
            #expect(round < 3 << 20)
            rounds += 1
            try #require(rounds < 1000)
        }
        #expect(rounds > 4)
        for connection in greedy + [modest] { _ = try connection.channel.finish(acceptAlreadyClosed: true) }
    }

    @Test func `what one read brings is bounded, however much lies in the socket`() async throws {
        try await EchoServer.run(threads: 1) { server in
            let good = try await server.connect()
            let (client, channel) = try await RawClient.connect(to: server)
            let count = 4000
            let message = [0, 0, 0, 0, 200] + [UInt8](repeating: 7, count: 200)
            let one =
                RawClient.frame(1, flags: 4, stream: 1, RawClient.request("/test.Echo/unary")).count + 9
                + message.count
            try await channel.send(
                RawClient.preface + RawClient.openWindows
                    + (0..<count).flatMap { number -> [UInt8] in
                        let stream = UInt32(number * 2 + 1)
                        return RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/unary"))
                            + RawClient.frame(0, flags: 1, stream: stream, message)
                    })
            #expect(try await good.call(.unary, [1, 2]).get().message == [1, 2])
            try await eventually { server.service.seen.batches.reduce(0, +) == count + 1 }
            // Four times 64 KiB, and what TLS held of a record that was not complete.
            #expect(server.service.seen.batches.allSatisfy { $0 <= (272 << 10) / one + 1 })
            try await eventually { client.received.frames.count { $0.type == 0 } == count }
            try await channel.close()
        }
    }

    @Test(arguments: [1, 2])
    func `calls are answered while enormous streams flow on the same event loop`(threads: Int) async throws {
        try await EchoServer.run(threads: threads) { server in
            let good = try await server.connect()
            var options = TransportOptions.client
            options.streamWindowBytes = 1 << 28
            options.connectionWindowBytes = 1 << 30
            let connection = try await server.connect(options: options)
            let streams = (0..<3).map { _ in StreamRecorder() }
            for stream in streams {
                _ = stream.open(
                    .expand, EchoService.expansion(count: 5000, bytes: 10_000), single: true, on: connection)
            }
            var calls = 0
            while !streams.allSatisfy({ $0.ending != nil }) {
                #expect(try await good.call(.unary, [1, 2, 3], timeout: .seconds(10)).get().message == [1, 2, 3])
                calls += 1
            }
            #expect(calls > 3)
            for stream in streams { #expect(stream.messages == Array(repeating: 10_000, count: 5000)) }
        }
    }
}
