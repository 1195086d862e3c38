import Foundation
import GRPCTransport
import NIOCore
import NIOEmbedded
import Testing

/// The server's unary path and nothing else: no socket, no TLS, no other end. `ESPER_UNARY_CALLS` sets how many calls, for
/// callgrind.
@Suite(.timeLimit(.minutes(30)))
struct UnaryPathTests {
    private static let calls = ProcessInfo.processInfo.environment["ESPER_UNARY_CALLS"].flatMap { Int($0) } ?? 2000

    @Test func `calls of one read are answered in one write, whatever their number`() throws {
        let loop = EmbeddedEventLoop()
        let channel = EmbeddedChannel(loop: loop)
        let service = EchoService()
        let server = GRPCServer(service: service, methods: service.methods)
        try server.attach(to: channel, principal: "tester")
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        try channel.writeInbound(ByteBuffer(bytes: RawClient.preface + RawClient.openWindows))
        while try channel.readOutbound(as: ByteBuffer.self) != nil {}
        let block = RawClient.request("/test.Echo/unary")
        let message = [0, 0, 0, 1, 0] + [UInt8](repeating: 7, count: 256)
        var stream: UInt32 = 1
        var answered = 0
        while answered < Self.calls {
            var read = ByteBuffer()
            for _ in 0..<50 {
                read.writeBytes(RawClient.frame(1, flags: 4, stream: stream, block))
                read.writeBytes(RawClient.frame(0, flags: 1, stream: stream, message))
                stream += 2
            }
            try channel.writeInbound(read)
            var writes = 0
            while let written = try channel.readOutbound(as: ByteBuffer.self) {
                writes += 1
                #expect(written.readableBytes > 50 * message.count)
            }
            #expect(writes == 1)
            answered += 50
        }
        #expect(service.seen.batches.allSatisfy { $0 == 50 })
        #expect(server.heldBytes == HeldBytes())
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
