import NIOCore
import NIOPosix
import Synchronization

/// A server that greets as Redis does and answers the first request of each connection with bytes of the test.
final class ScriptedServer: Sendable {
    private let channel: any Channel
    private let counter: Counter

    /// - Parameters:
    ///   - answer: to the first bytes after the greeting.
    ///   - closes: whether the connection ends with it.
    ///   - interval: between two bytes of the answer; nil: all at once.
    init(answer: [UInt8], closes: Bool = false, interval: TimeAmount? = nil) async throws {
        let counter = Counter()
        self.counter = counter
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Script(answer: answer, closes: closes, interval: interval, counter: counter))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    var port: Int { channel.localAddress?.port ?? 0 }

    /// Connections that are over.
    var ended: Int { counter.ended.load(ordering: .relaxed) }

    private final class Counter: Sendable { let ended = Atomic(0) }

    func close() async throws { try await channel.close() }

    private final class Script: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let answer: [UInt8]
        private let closes: Bool
        private let interval: TimeAmount?
        private let counter: Counter
        private var hasGreeted = false
        private var hasAnswered = false

        init(answer: [UInt8], closes: Bool, interval: TimeAmount?, counter: Counter) {
            self.answer = answer
            self.closes = closes
            self.interval = interval
            self.counter = counter
        }

        func channelInactive(context: ChannelHandlerContext) { counter.ended.wrappingAdd(1, ordering: .relaxed) }

        /// The client says nothing more before it is greeted, so the first bytes are its greeting and all that follow are not.
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if !hasGreeted {
                hasGreeted = true
                send(Array("+OK\r\n-ERR This instance has cluster support disabled\r\n".utf8), context)
            } else if !hasAnswered {
                hasAnswered = true
                if let interval {
                    drip(answer[...], interval, context)
                } else {
                    send(answer, context)
                    if closes { context.close(promise: nil) }
                }
            }
        }

        private func drip(_ rest: ArraySlice<UInt8>, _ interval: TimeAmount, _ context: ChannelHandlerContext) {
            guard let next = rest.first, context.channel.isActive else { return }
            send([next], context)
            context.eventLoop.assumeIsolated().scheduleTask(in: interval) {
                self.drip(rest.dropFirst(), interval, context)
            }
        }

        private func send(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        }
    }
}
