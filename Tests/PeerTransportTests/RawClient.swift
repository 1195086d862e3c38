import Identity
import NIOCore
import NIOPosix
import NIOSSL
import PeerTransport
import RaftCore

/// A connection made by hand: for everything that no program of ours would send.
final class RawClient: Sendable {
    let channel: any Channel
    private let answers: EventLoopFuture<[IncomingFrame]>

    private init(_ channel: any Channel, _ answers: EventLoopFuture<[IncomingFrame]>) {
        self.channel = channel
        self.answers = answers
    }

    /// - Parameter tls: nil for plain TCP.
    static func connect(to node: TestNode, tls: TLSConfiguration? = nil) async throws -> RawClient {
        let context = try tls.map { try NIOSSLContext(configuration: $0) }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: [IncomingFrame].self)
        let channel = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandler(
                            try NIOSSLClientHandler(
                                context: context, serverHostname: nil,
                                customVerificationCallback: { _, verdict in verdict.succeed(.certificateVerified) }))
                    }
                    try channel.pipeline.syncOperations.addHandler(Collector(promise))
                }
            }
            .connect(host: "127.0.0.1", port: node.port).get()
        return RawClient(channel, promise.futureResult)
    }

    func send(_ buffer: ByteBuffer) { channel.writeAndFlush(buffer, promise: nil) }

    /// The first answer, or every answer until the other end closed the connection.
    func closed() async throws -> [IncomingFrame] {
        let deadline = channel.eventLoop.scheduleTask(in: .seconds(10)) { [channel] in channel.close(promise: nil) }
        defer { deadline.cancel() }
        return try await answers.get()
    }

    func close() async throws { try? await channel.close().get() }

    /// Collects frames until the connection ends.
    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private var decoder = FrameDecoder()
        private var frames: [IncomingFrame] = []
        private let promise: EventLoopPromise<[IncomingFrame]>

        init(_ promise: EventLoopPromise<[IncomingFrame]>) { self.promise = promise }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            decoder.feed(unwrapInboundIn(data))
            while let frame = try? decoder.next(limit: 1 << 20) { frames.append(frame) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func handlerRemoved(context: ChannelHandlerContext) { promise.succeed(frames) }
    }
}
