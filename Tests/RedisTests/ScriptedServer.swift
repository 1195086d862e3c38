import NIOCore
import NIOPosix

/// A server that greets as Redis does and answers the first request of each connection with bytes of the test.
final class ScriptedServer: Sendable {
    private let channel: any Channel

    /// - Parameters:
    ///   - answer: to the first bytes after the greeting.
    ///   - closes: whether the connection ends with it.
    init(answer: [UInt8], closes: Bool) async throws {
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Script(answer: answer, closes: closes))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    var port: Int { channel.localAddress?.port ?? 0 }

    func close() async throws { try await channel.close() }

    private final class Script: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let answer: [UInt8]
        private let closes: Bool
        private var hasGreeted = false

        init(answer: [UInt8], closes: Bool) {
            self.answer = answer
            self.closes = closes
        }

        /// The client says nothing more before it is greeted, so the first bytes are its greeting and all that follow are not.
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes =
                hasGreeted ? answer : Array("+OK\r\n-ERR This instance has cluster support disabled\r\n".utf8)
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
            if hasGreeted, closes { context.close(promise: nil) }
            hasGreeted = true
        }
    }
}
