import CNghttp2
import Foundation
import GRPCTransport
import NIOCore
import NIOEmbedded
import Testing

/// Valid sessions of HTTP/2 with faults in them, against both ends: no trap, nothing held when it is over, and no end that
/// says what a peer could not read. A failure names its seed; `ESPER_FUZZ_SEEDS` sets how many there are.
@Suite(.timeLimit(.minutes(60)))
struct FrameFuzzTests {
    private static let seeds = ProcessInfo.processInfo.environment["ESPER_FUZZ_SEEDS"].flatMap { Int($0) } ?? 3000

    @Test func `a server survives sessions that went wrong`() throws {
        var served = 0
        for seed in 0..<Self.seeds {
            var session = FuzzedSession(seed: UInt64(seed))
            served += try Self.serve(session.clientBytes(), &session, seed: seed)
        }
        // Many sessions must get as far as to a service, or the faults are too coarse to find anything.
        #expect(served > Self.seeds / 2, "\(served) calls in \(Self.seeds) sessions")
    }

    /// - Returns: calls that reached a service.
    private static func serve(_ bytes: [UInt8], _ session: inout FuzzedSession, seed: Int) throws -> Int {
        let loop = EmbeddedEventLoop()
        let channel = EmbeddedChannel(loop: loop)
        let (service, other) = (EchoService(), EchoService(name: "other.Echo"))
        var options = TransportOptions.server
        options.maximumMessageBytes = 100_000
        options.maximumBufferedBytes = 200_000
        options.maximumAnswerBytes = 300_000
        options.maximumConcurrentCalls = 20
        let server = GRPCServer(services: [(service, service.methods), (other, other.methods)], options: options)
        try server.attach(to: channel, principal: "tester")
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        var written: [UInt8] = []
        func drain() throws {
            while let buffer = try channel.readOutbound(as: ByteBuffer.self) { written += [UInt8](buffer: buffer) }
        }
        for piece in session.pieces(of: bytes) {
            _ = try? channel.writeInbound(ByteBuffer(bytes: piece))
            loop.run()
            try drain()
            let held = server.heldBytes
            #expect(held.requests <= 200_000 + 100_000, "seed \(seed): \(held)")
            #expect(held.answers <= 300_000 + 100_000, "seed \(seed): \(held)")
        }
        // Time for turns, deadlines and farewells.
        for _ in 0..<10 {
            loop.advanceTime(by: .milliseconds(50))
            try drain()
        }
        #expect(written.areFrames, "seed \(seed): what the server wrote is no sequence of frames")
        _ = try? channel.finish(acceptAlreadyClosed: true)
        loop.run()
        #expect(server.connectionCount == 0, "seed \(seed)")
        #expect(server.heldBytes == HeldBytes(), "seed \(seed): \(server.heldBytes)")
        #expect(service.seen.disconnects == 1 && other.seen.disconnects == 1, "seed \(seed)")
        return [service, other].reduce(0) { $0 + $1.seen.opened + $1.seen.batches.reduce(0, +) }
    }

    @Test func `a client survives servers that went wrong, and every call ends once`() throws {
        var answered = 0
        for seed in 0..<Self.seeds {
            var session = FuzzedSession(seed: UInt64(seed) &+ 1 << 32)
            let loop = EmbeddedEventLoop()
            let channel = EmbeddedChannel(loop: loop)
            let connection = try ClientConnection.attached(to: channel, authority: "test")
            channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
            var endings = Array(repeating: 0, count: 8)
            let count = NIOLoopBoundBox([Int](repeating: 0, count: 8), eventLoop: loop)
            let answers = NIOLoopBoundBox(0, eventLoop: loop)
            // Settings first: without them a client starts nothing.
            try channel.writeInbound(ByteBuffer(bytes: RawClient.settings))
            for number in 0..<8 {
                let call = ClientCall(path: "/test.Echo/unary", message: [1, 2, 3], timeout: nil)
                if number % 2 == 0 {
                    connection.start(call) { result in
                        count.value[number] += 1
                        if case .success = result { answers.value += 1 }
                    }
                } else {
                    _ = connection.open(call, endsWithFirstMessage: false) { event in
                        switch event {
                        case .began: break
                        case .message: answers.value += 1
                        case .ended: count.value[number] += 1
                        }
                    }
                }
            }
            loop.run()
            let bytes = session.serverBytes()
            for piece in session.pieces(of: bytes) {
                _ = try? channel.writeInbound(ByteBuffer(bytes: piece))
                loop.run()
            }
            for _ in 0..<10 { loop.advanceTime(by: .milliseconds(50)) }
            var written: [UInt8] = []
            while let buffer = try channel.readOutbound(as: ByteBuffer.self) { written += [UInt8](buffer: buffer) }
            #expect(written.starts(with: RawClient.preface))
            #expect([UInt8](written.dropFirst(RawClient.preface.count)).areFrames, "seed \(seed)")
            _ = try? channel.finish(acceptAlreadyClosed: true)
            loop.run()
            endings = count.value
            #expect(endings == Array(repeating: 1, count: 8), "seed \(seed): \(endings)")
            answered += answers.value
        }
        #expect(answered > Self.seeds, "\(answered) answers in \(Self.seeds) sessions")
    }
}

extension [UInt8] {
    /// Whether these bytes are whole frames and nothing else.
    fileprivate var areFrames: Bool { frames.reduce(0) { $0 + 9 + $1.payload.count } == count }
}
