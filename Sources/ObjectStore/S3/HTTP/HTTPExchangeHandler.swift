internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import NIOTLS

/// Performs one exchange after another on one connection. An exchange ends exactly once: with an answer that came whole, or
/// with a failure, and then the connection is closed.
final class HTTPExchangeHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = HTTPExchange
    typealias OutboundOut = HTTPClientRequestPart

    private struct Current {
        let exchange: HTTPExchange
        var head: HTTPResponseHead?
        var body: [UInt8] = []
        var isWritten = false
        /// When bytes went or came last.
        var moved: NIODeadline
        var timer: Scheduled<Void>?
    }

    /// Of the body, at a time, so that progress shows.
    private static let writeBytes = 256 << 10

    private var current: Current?
    private let secured: EventLoopPromise<Void>

    /// - Parameter secured: succeeds when TLS is agreed on, fails with ``ObjectStoreError`` when the connection ends before.
    init(secured: EventLoopPromise<Void>) {
        self.secured = secured
    }

    // MARK: TLS

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event { secured.succeed() }
        context.fireUserInboundEventTriggered(event)
    }

    /// Also of a connection that was never made.
    func handlerRemoved(context: ChannelHandlerContext) {
        secured.fail(ObjectStoreError(.unavailable, "the connection closed"))
    }

    // MARK: Requests

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let exchange = unwrapOutboundIn(data)
        guard current == nil, context.channel.isActive else {
            exchange.answer.fail(ObjectStoreError(.unavailable, "the connection is closed"))
            promise?.succeed()
            return
        }
        current = Current(exchange: exchange, moved: .now())
        watch(context)
        context.write(wrapOutboundOut(.head(exchange.head)), promise: nil)
        for start in stride(from: 0, to: exchange.body.count, by: Self.writeBytes) {
            let piece = exchange.body[start..<min(start + Self.writeBytes, exchange.body.count)]
            context.write(wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(bytes: piece)))))
                .assumeIsolated().whenSuccess { self.current?.moved = .now() }
        }
        context.write(wrapOutboundOut(.end(nil))).assumeIsolated().whenSuccess { self.current?.isWritten = true }
        promise?.succeed()
    }

    /// Looks when the time could be over, and again if something has moved meanwhile.
    private func watch(_ context: ChannelHandlerContext) {
        guard let current else { return }
        let (moved, exchange) = (current.moved, current.exchange)
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.current?.timer = context.value.eventLoop.assumeIsolated().scheduleTask(
            deadline: min(moved + exchange.patience, exchange.deadline)
        ) {
            guard let now = self.current else { return }
            if now.moved > moved, .now() < exchange.deadline {
                self.watch(context.value)
            } else {
                self.fail(.timedOut, "no answer in time", context.value)
            }
        }
    }

    // MARK: Answers

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard current != nil else {
            context.close(promise: nil)
            return
        }
        current?.moved = .now()
        switch unwrapInboundIn(data) {
        case .head(let head): headReceived(head, context)
        case .body(let bytes): bodyReceived(bytes, context)
        case .end: ended(context)
        }
    }

    private func headReceived(_ head: HTTPResponseHead, _ context: ChannelHandlerContext) {
        // What comes before the answer says nothing to us.
        if (100..<200).contains(head.status.code) { return }
        let length = head.headers.first(name: "content-length").flatMap { Int($0) }
        let isHead = current?.exchange.head.method == .HEAD
        if !isHead, length == nil, head.status != .noContent, !head.headers.contains(name: "transfer-encoding") {
            // Its end could not be told from a connection that broke.
            return fail(.nonsense, "the answer does not say how long it is", context)
        }
        guard isHead || length ?? 0 <= current?.exchange.maximumAnswerBytes ?? 0 else { return failTooLong(context) }
        current?.head = head
        if !isHead, let length { current?.body.reserveCapacity(length) }
    }

    private func bodyReceived(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        guard let received = current else { return }
        guard received.body.count + bytes.readableBytes <= received.exchange.maximumAnswerBytes else {
            return failTooLong(context)
        }
        current?.body.append(contentsOf: bytes.readableBytesView)
    }

    private func ended(_ context: ChannelHandlerContext) {
        // Behind what came before the answer.
        guard let done = current, let head = done.head else { return }
        done.timer?.cancel()
        current = nil
        if !head.isKeepAlive || !done.isWritten { context.close(promise: nil) }
        done.exchange.answer.succeed(
            HTTPAnswer(status: Int(head.status.code), headers: head.headers, body: done.body))
    }

    // MARK: Failures

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case is HTTPParserError where current?.head != nil: fail(.damaged, "the answer breaks off", context)
        case is HTTPParserError: fail(.nonsense, "what came is not HTTP", context)
        case NIOSSLError.handshakeFailed(.sslError), is NIOSSLExtraError:
            fail(.refused, "the certificate or what TLS offers does not suit: \(error)", context)
        default: fail(current?.head == nil ? .unavailable : .damaged, "the connection failed: \(error)", context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(
            current?.head == nil ? .unavailable : .damaged,
            current?.head == nil ? "the connection was closed before the answer" : "the answer breaks off", context)
        context.fireChannelInactive()
    }

    private func failTooLong(_ context: ChannelHandlerContext) {
        fail(.invalid, "the answer is longer than \(current?.exchange.maximumAnswerBytes ?? 0) bytes", context)
    }

    private func fail(_ code: ObjectStoreError.Code, _ message: String, _ context: ChannelHandlerContext) {
        if let current {
            current.timer?.cancel()
            self.current = nil
            current.exchange.answer.fail(ObjectStoreError(code, message))
        }
        secured.fail(ObjectStoreError(code, message))
        context.close(promise: nil)
    }
}
