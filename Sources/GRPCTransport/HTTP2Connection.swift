internal import CNghttp2
public import NIOCore

/// One HTTP/2 connection with libnghttp2 as its codec: bytes of a channel in, events of streams out, and back.
///
/// The two ends are subclasses, which override the events. The codec is fed in `channelRead`, events are handed on in
/// `channelReadComplete`, and what was submitted leaves in one write per flush. Output is pulled from the codec only
/// while the channel is writable, so what a slow reader makes us hold is what its streams have queued.
///
/// No connection keeps its event loop for long: NIO reads its socket four times at most between two looks at all of them, and of
/// what there is to write no more than ``turnBytes`` leaves before others have had their turn.
///
/// Everything but the constants belongs to the event loop of the channel.
///
/// `@unchecked Sendable`: references cross threads (in call handles and mailboxes), but every stored variable here and in
/// the subclasses is touched only on `eventLoop`; methods for other threads hop there first, and the others are called
/// by the channel or check with a precondition.
public class HTTP2Connection: ChannelInboundHandler, @unchecked Sendable {
    public typealias InboundIn = ByteBuffer
    public typealias OutboundOut = ByteBuffer

    public final let eventLoop: any EventLoop
    final let options: TransportOptions
    final let isServer: Bool

    /// Nil before the channel is active and after it is gone.
    final var session: OpaquePointer?
    final var context: ChannelHandlerContext?
    final var fields = HeaderFields()
    final var lastReadAt: NIODeadline = .now()
    final var pingSentAt: NIODeadline?
    /// Set inside a callback of the codec, where the channel must not be closed; obeyed as soon as the codec returns.
    final var failure: HTTP2Failure?
    private var isFlushing = false
    private var isReading = false
    private var lastFlushBytes = 1024
    private let turns: TurnQueue
    private var awaitsTurn = false
    /// After a failure: what was read since, until the close.
    private var discardedBytes: Int?
    private var linger: Scheduled<Void>?
    private var keepAlive: Scheduled<Void>?
    private var deadlineTimer: (at: NIODeadline, task: Scheduled<Void>)?
    private var resets: TokenBucket
    private var idleFrames: TokenBucket

    /// - Parameter turns: shared by the connections of one event loop.
    init(eventLoop: any EventLoop, isServer: Bool, options: TransportOptions, turns: TurnQueue) {
        self.eventLoop = eventLoop
        self.turns = turns
        self.options = options
        self.isServer = isServer
        let now = NIODeadline.now()
        resets = TokenBucket(burst: options.resetBurst, perSecond: options.resetsPerSecond, now: now)
        idleFrames = TokenBucket(burst: options.idleFrameBurst, perSecond: options.idleFramesPerSecond, now: now)
    }

    deinit {
        if let session { nghttp2_session_del(session) }
    }

    // MARK: Events for the subclasses, inside the codec unless said otherwise

    func headersBegan(_ stream: Int32, category: nghttp2_headers_category) {}
    func field(_ stream: Int32, name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {}
    func headersEnded(_ stream: Int32, endStream: Bool) {}
    func data(_ stream: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {}
    /// The peer has sent its last byte on the stream.
    func remoteClosed(_ stream: Int32) {}
    func streamClosed(_ stream: Int32, errorCode: UInt32) {}
    func headersSent(_ stream: Int32, endStream: Bool) {}
    func headersNotSent(_ stream: Int32) {}
    func goAwayReceived(lastStream: Int32, errorCode: UInt32) {}
    func pingAnswered(_ payload: UInt8) {}
    func settingsReceived() {}
    /// Fills a DATA frame.
    func fill(_ stream: Int32, _ target: UnsafeMutableRawBufferPointer, _ flags: inout UInt32) -> Int { 0 }
    /// Outside the codec: everything that was read has been decoded.
    func readCompleted() {}
    /// Outside the codec, after every attempt to write: streams may have ended or have room.
    ///
    /// - Returns: whether something was handed on, so that there may be more to write.
    func flushed() -> Bool { false }
    /// Outside the codec: ends every call whose deadline is not after `now`.
    ///
    /// - Returns: the earliest deadline of the others.
    func deadlinesDue(_ now: NIODeadline) -> NIODeadline? { nil }
    /// Outside the codec, once: the connection is gone.
    func disconnected() {}

    // MARK: Channel

    public final func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { start() }
    }

    public final func handlerRemoved(context: ChannelHandlerContext) {
        stop()
        self.context = nil
    }

    public final func channelActive(context: ChannelHandlerContext) {
        start()
        context.fireChannelActive()
    }

    public final func channelInactive(context: ChannelHandlerContext) {
        stop()
        context.fireChannelInactive()
    }

    public final func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Whatever TLS or the socket reports, the connection cannot go on; its calls learn it from `disconnected`.
        context.close(promise: nil)
    }

    public final func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let session else { return }
        guard failure == nil else { return discard(unwrapInboundIn(data).readableBytes) }
        isReading = true
        lastReadAt = .now()
        pingSentAt = nil
        let result = unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
            nghttp2_session_mem_recv(session, bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count)
        }
        if result < 0, failure == nil { failure = HTTP2Failure(codec: Int32(truncatingIfNeeded: result)) }
    }

    public final func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if session != nil { readCompleted() }
        flush()
        context.fireChannelReadComplete()
    }

    public final func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { flush() }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Verbs

    /// Writes what the codec has to say, as far as the channel takes it, in as few writes as its size allows.
    final func flush() {
        guard !isFlushing, !isReading else { return }
        isFlushing = true
        defer { isFlushing = false }
        // What is handed on may bring more to write, and that may end streams and give credit in turn. It ends with the
        // peer's window, the socket's buffer, the service's answers or this turn, whichever is used up first.
        var left = Self.turnBytes
        var mayHaveMore = true
        while mayHaveMore, left > 0 {
            mayHaveMore = false
            while left > 0, writeOnce(&left) { mayHaveMore = left <= 0 }
            if flushed() { mayHaveMore = true }
        }
        guard let session, let context else { return }
        if mayHaveMore, !awaitsTurn {
            awaitsTurn = true
            turns.add(self)
        }
        let isDone = nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
        if failure != nil {
            closeWithGoodbye(context)
        } else if isDone {
            context.close(promise: nil)
        }
    }

    /// What one connection writes before others have their turn.
    static let turnBytes = 256 << 10

    final func turnCame() {
        awaitsTurn = false
        flush()
    }

    /// Ends the connection: a GOAWAY with the reason, then the close.
    final func fail(_ reason: HTTP2Failure) {
        if failure == nil { failure = reason }
    }

    /// The codec judges most of what a peer may do wrong, and says goodbye by itself.
    final func goAwaySent(errorCode: UInt32) {
        guard errorCode != HTTP2ErrorCode.noError.rawValue, failure == nil else { return }
        failure = HTTP2Failure(announced: errorCode)
    }

    /// Takes one token for a stream the peer has reset.
    final func countReset() {
        if !resets.take(now: lastReadAt) { fail(HTTP2Failure(.enhanceYourCalm, .resetFlood, "too many streams reset")) }
    }

    /// Takes one token for a frame that brings nothing.
    final func countIdleFrame() {
        if !idleFrames.take(now: lastReadAt) {
            fail(HTTP2Failure(.enhanceYourCalm, .idleFrameFlood, "too many idle frames"))
        }
    }

    /// Gives the peer back the window that `count` bytes on the connection took.
    final func consumeConnection(_ count: Int) {
        if let session { nghttp2_session_consume_connection(session, count) }
    }

    final func consumeStream(_ stream: Int32, _ count: Int) {
        if count > 0, let session { nghttp2_session_consume_stream(session, stream, count) }
    }

    final func reset(_ stream: Int32, _ code: HTTP2ErrorCode) {
        guard let session else { return }
        nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream, code.rawValue)
    }

    final func ping(_ payload: UInt8) {
        guard let session else { return }
        var bytes: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8) = (payload, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeBytes(of: &bytes) { raw in
            _ = nghttp2_submit_ping(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), raw.bindMemory(to: UInt8.self).baseAddress)
        }
    }

    /// Makes sure that ``deadlinesDue(_:)`` is called no later than `deadline`; one timer serves all calls.
    final func watch(_ deadline: NIODeadline) {
        if let deadlineTimer {
            guard deadline < deadlineTimer.at else { return }
            deadlineTimer.task.cancel()
        }
        // Not more often than every millisecond, so that many near deadlines cost one pass.
        let at = max(deadline, .now() + .milliseconds(1))
        let task = eventLoop.assumeIsolated().scheduleTask(deadline: at) { [weak self] () -> Void in
            self?.deadlineTimerFired()
        }
        deadlineTimer = (at, task)
    }

    // MARK: Helpers

    private func deadlineTimerFired() {
        deadlineTimer = nil
        guard session != nil else { return }
        if let next = deadlinesDue(.now()) { watch(next) }
        flush()
    }

    /// - Returns: whether there may be more to write and room for it.
    private func writeOnce(_ left: inout Int) -> Bool {
        guard let session, let context, context.channel.isWritable else { return false }
        if let failure, !failure.isAnnounced {
            self.failure?.isAnnounced = true
            nghttp2_session_terminate_session(session, failure.code.rawValue)
        }
        var buffer: ByteBuffer?
        var isDrained = false
        while !isDrained, (buffer?.readableBytes ?? 0) < Self.writeBytes {
            var pointer: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(session, &pointer)
            if count > 0, let pointer {
                let frame = UnsafeBufferPointer(start: pointer, count: count)
                if buffer == nil { buffer = context.channel.allocator.buffer(capacity: max(count, lastFlushBytes)) }
                buffer?.writeBytes(frame)
            } else {
                if count < 0, failure == nil { failure = HTTP2Failure(codec: Int32(truncatingIfNeeded: count)) }
                isDrained = true
            }
        }
        guard let buffer else { return false }
        lastFlushBytes = min(buffer.readableBytes, Self.writeBytes)
        left -= buffer.readableBytes
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        return !isDrained
    }

    /// Closes after a failure, a moment later when the peer may still be sending: whoever closes a socket with bytes unread resets
    /// it, and then the GOAWAY may never be read.
    private func closeWithGoodbye(_ context: ChannelHandlerContext) {
        guard discardedBytes == nil else { return }
        guard context.channel.isWritable, failure?.isAnnounced == true else {
            context.close(promise: nil)
            return
        }
        discardedBytes = 0
        linger = eventLoop.assumeIsolated().scheduleTask(in: Self.lingerTime) { [weak self] in
            self?.context?.close(promise: nil)
        }
    }

    private func discard(_ count: Int) {
        guard let discarded = discardedBytes else { return }
        discardedBytes = discarded + count
        if discarded + count > Self.lingerBytes { context?.close(promise: nil) }
    }

    private static let lingerTime = TimeAmount.milliseconds(100)
    private static let lingerBytes = 1 << 20

    /// One write at most; also what one flush allocates.
    private static let writeBytes = 128 << 10

    private func start() {
        guard session == nil, context != nil else { return }
        lastReadAt = .now()
        session = HTTP2Codec.makeSession(for: self)
        HTTP2Codec.submitSettings(session, isServer: isServer, options)
        scheduleKeepAlive(after: options.keepAliveInterval)
        flush()
    }

    private func stop() {
        guard let session else { return }
        keepAlive?.cancel()
        keepAlive = nil
        deadlineTimer?.task.cancel()
        deadlineTimer = nil
        linger?.cancel()
        linger = nil
        self.session = nil
        disconnected()
        nghttp2_session_del(session)
    }

    private func scheduleKeepAlive(after delay: TimeAmount) {
        keepAlive = eventLoop.assumeIsolated().scheduleTask(in: delay) { [weak self] in self?.keepAliveDue() }
    }

    private func keepAliveDue() {
        guard session != nil, let context else { return }
        let now = NIODeadline.now()
        if let pingSentAt, now - pingSentAt >= options.keepAliveTimeout {
            fail(HTTP2Failure(.noError, .silence, "the peer has been silent for too long"))
            context.close(promise: nil)
            return
        }
        if pingSentAt == nil, now - lastReadAt >= options.keepAliveInterval {
            pingSentAt = now
            ping(HTTP2Codec.keepAlivePing)
            flush()
        }
        scheduleKeepAlive(after: pingSentAt == nil ? options.keepAliveInterval : options.keepAliveTimeout)
    }
}
