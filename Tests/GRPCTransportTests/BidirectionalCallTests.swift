import GRPCTransport
import NIOCore
import NIOEmbedded
import Testing

/// Calls whose two directions live their own lives.
@Suite(.timeLimit(.minutes(1)), .serialized)
struct BidirectionalCallTests {
    @Test func `many streams at once, each with its own order and its own window`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let count = 1000
            // More than the window of a stream, so that nothing comes through without acknowledgements.
            let sizes = [10, 400_000, 1, 800_000, 0, 20]
            let recorders = (0..<count).map { _ in StreamRecorder() }
            let streams = recorders.map { $0.open(.chat, [1], single: false, on: connection) }
            try await eventually { recorders.allSatisfy { $0.messages == [1] } }
            #expect(server.service.seen.opened == count)
            // Large ones on a few, small ones on all.
            for stream in streams.prefix(8) {
                for size in sizes { stream.send([UInt8](repeating: 3, count: size)) }
            }
            for (number, stream) in streams.enumerated() { stream.send([UInt8](repeating: 5, count: number)) }
            for stream in streams { stream.halfClose() }
            try await eventually { recorders.allSatisfy { $0.ending != nil } }
            for (number, recorder) in recorders.enumerated() {
                #expect(recorder.messages == [1] + (number < 8 ? sizes : []) + [number])
                #expect(throws: Never.self) { try recorder.ending?.get() }
            }
            #expect(server.service.seen.halfClosed == count)
        }
    }

    @Test func `headers come before the first message`() async throws {
        try await EchoServer.run { server in
            let recorder = StreamRecorder()
            // The request that a call begins with is larger than the window: it cannot be complete before the headers are
            // there, and its service has answered nothing.
            var options = TransportOptions.client
            options.maximumQueuedBytes = 16 << 20
            let connection = try await server.connect(options: options)
            let stream = recorder.open(
                .quick, [UInt8](repeating: 1, count: 4_000_000), single: false, on: connection)
            try await eventually { recorder.hasBegun }
            try await eventually { recorder.messages == [4_000_000] }
            stream.cancel()
        }
    }

    @Test func `a server may end first, and its caller's late requests do no harm`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            for _ in 0..<20 {
                let recorder = StreamRecorder()
                let stream = recorder.open(.quick, [1], single: false, on: connection)
                for size in [2, 3, 4, 300_000, 300_000] { stream.send([UInt8](repeating: 9, count: size)) }
                try await eventually { recorder.ending != nil }
                #expect(throws: Never.self) { try recorder.ending?.get() }
                #expect(recorder.messages == [1, 2, 3])
                stream.send([1])
                stream.halfClose()
            }
            // What was never digested has been given back to the connection's window.
            #expect(
                try await connection.call(.unary, [UInt8](repeating: 1, count: 3_000_000)).get().message.count
                    == 3_000_000)
            #expect(server.service.seen.ended == [])
        }
    }

    @Test func `answers of one turn leave in one write, before anybody half-closes`() throws {
        let loop = EmbeddedEventLoop()
        let channel = EmbeddedChannel(loop: loop)
        let service = EchoService()
        let server = GRPCServer(service: service, methods: service.methods)
        try server.attach(to: channel, principal: "tester")
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        while try channel.readOutbound(as: ByteBuffer.self) != nil {}
        var bytes = RawClient.preface + RawClient.settings
        for number in 0..<100 {
            let stream = UInt32(number * 2 + 1)
            bytes += RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/chat"))
            bytes += RawClient.frame(0, stream: stream, [0, 0, 0, 0, 3, 1, 2, UInt8(number)])
        }
        try channel.writeInbound(ByteBuffer(bytes: bytes))
        let written = try channel.readOutbound(as: ByteBuffer.self)
        #expect(try channel.readOutbound(as: ByteBuffer.self) == nil)
        let frames = written.map { [UInt8](buffer: $0).frames } ?? []
        for number in 0..<100 {
            let mine = frames.filter { $0.stream == number * 2 + 1 }
            #expect(mine.map(\.type) == [1, 0])
            #expect(mine.last?.payload == [0, 0, 0, 0, 3, 1, 2, UInt8(number)])
            #expect(mine.last?.flags == 0)
        }
        #expect(service.seen.halfClosed == 0)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
