internal import CNghttp2
internal import NIOCore

/// The server's end of one connection.
///
/// Decodes calls into batches for their ``GRPCService``s and sends what it answers. Everything here belongs to the event
/// loop of the connection; from other threads only ``deliver(_:)`` and ``drain()`` may be used.
public final class ServerConnection: HTTP2Connection, @unchecked Sendable {
    /// Who is at the other end, as the certificate says; empty when nobody asked.
    public let principal: String
    let router: MethodRouter
    let services: [any GRPCService]
    let health: HealthRegistry
    let mailbox: AnswerMailbox
    let metrics: ServerMetrics
    let closed: @Sendable (ServerConnection) -> Void

    var streams: [Int32: ServerStream] = [:]
    /// For each service, what it has not been told.
    private var batches: [Batch]
    private var hasBatches = false
    private var isDelivering = false
    /// Memory held by requests: unfinished ones, those that their service has not been given, and those of streams that it has
    /// not acknowledged.
    var bufferedBytes = 0
    /// The part of it that is handed on at the end of this pass.
    var undeliveredBytes = 0
    /// Memory held by unary answers that have not left.
    var queuedAnswerBytes = 0
    /// Memory held by messages of streams that have not left.
    var queuedMessageBytes = 0
    /// Streams that lack credit because of what the whole connection has queued.
    var withheld: Set<Int32> = []
    var highestStream: Int32 = 0
    var isDraining = false
    var drainTimer: Scheduled<Void>?
    var healthWatches: [Int32: UInt64] = [:]
    /// Somebody has this connection on a list of those that he will flush.
    package var wantsFlush = false
    /// How many streams the metrics know of.
    private var countedStreams = 0
    /// What the metrics know of.
    private var countedBytes = HeldBytes()

    init(
        eventLoop: any EventLoop, principal: String, router: MethodRouter, services: [any GRPCService],
        health: HealthRegistry, mailbox: AnswerMailbox, turns: TurnQueue, metrics: ServerMetrics,
        options: TransportOptions,
        closed: @escaping @Sendable (ServerConnection) -> Void
    ) {
        self.principal = principal
        self.router = router
        self.services = services
        batches = Array(repeating: Batch(), count: services.count)
        self.health = health
        self.mailbox = mailbox
        self.metrics = metrics
        self.closed = closed
        super.init(eventLoop: eventLoop, isServer: true, options: options, turns: turns)
    }

    private struct Batch {
        var calls: [InboundCall] = []
        var events: [CallEvent] = []
    }

    /// Calls that have begun and not ended.
    public var openCalls: Int { streams.count }

    override func readCompleted() { _ = deliverEvents() }

    override func flushed() -> Bool {
        countStreams()
        countBytes()
        return deliverEvents()
    }

    private func countStreams() {
        guard streams.count != countedStreams else { return }
        metrics.streamsChanged(by: streams.count - countedStreams)
        countedStreams = streams.count
    }

    private func countBytes() {
        let held = HeldBytes(requests: bufferedBytes, answers: queuedAnswerBytes, messages: queuedMessageBytes)
        guard held != countedBytes else { return }
        metrics.heldChanged(from: countedBytes, to: held)
        countedBytes = held
    }

    override func disconnected() {
        drainTimer?.cancel()
        for id in healthWatches.keys { health.unwatch(healthWatches[id] ?? 0) }
        healthWatches = [:]
        for stream in streams.values where stream.isKnown && stream.answering != .finished {
            tell(stream, .ended(CallHandle(connection: self, stream: stream.id), .connectionLost))
            metrics.ended(stream.route, .cancelled)
        }
        streams = [:]
        countStreams()
        metrics.disconnected(failure)
        bufferedBytes = undeliveredBytes
        queuedAnswerBytes = 0
        queuedMessageBytes = 0
        withheld = []
        sayGoodbye()
    }

    /// A service may be the one that closes the connection, in the midst of what it is being told.
    private func sayGoodbye() {
        guard !isDelivering else { return eventLoop.assumeIsolated().execute { self.sayGoodbye() } }
        _ = deliverEvents()
        countBytes()
        for service in services { service.disconnected(self) }
        closed(self)
    }

    /// Has a service told of its call at the end of this pass.
    func tell(_ stream: ServerStream, _ event: CallEvent) {
        batches[stream.service].events.append(event)
        hasBatches = true
    }

    /// Likewise of a request that is complete.
    func tell(_ stream: ServerStream, complete call: InboundCall) {
        batches[stream.service].calls.append(call)
        hasBatches = true
    }

    /// Tells every service what is its own; never within what it is being told.
    ///
    /// - Returns: whether there was anything.
    private func deliverEvents() -> Bool {
        guard hasBatches, !isDelivering else { return false }
        isDelivering = true
        defer { isDelivering = false }
        hasBatches = false
        bufferedBytes -= undeliveredBytes
        undeliveredBytes = 0
        for (index, service) in services.enumerated() {
            let batch = batches[index]
            batches[index] = Batch()
            if !batch.calls.isEmpty { service.received(batch.calls, on: self) }
            if !batch.events.isEmpty { service.occurred(batch.events, on: self) }
        }
        return true
    }

    // MARK: Codec

    override func headersBegan(_ stream: Int32, category: nghttp2_headers_category) { beginRequest(stream) }

    override func field(_ stream: Int32, name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        requestField(stream, name, value)
    }

    override func headersEnded(_ stream: Int32, endStream: Bool) { requestOpened(stream) }

    override func data(_ stream: Int32, _ bytes: UnsafeBufferPointer<UInt8>) { requestData(stream, bytes) }

    override func remoteClosed(_ stream: Int32) { requestEnded(stream) }

    override func streamClosed(_ stream: Int32, errorCode: UInt32) { requestClosed(stream) }

    override func headersSent(_ stream: Int32, endStream: Bool) { if endStream { answerEnded(stream) } }

    override func fill(_ stream: Int32, _ target: UnsafeMutableRawBufferPointer, _ flags: inout UInt32) -> Int {
        guard let stream = streams[stream] else { return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue) }
        return fillBody(stream, target, &flags)
    }

    override func deadlinesDue(_ now: NIODeadline) -> NIODeadline? {
        var next: NIODeadline?
        for stream in streams.values where stream.answering != .finished {
            guard let deadline = stream.deadline else { continue }
            if deadline > now {
                next = min(next ?? deadline, deadline)
            } else {
                finish(stream, GRPCStatus(.deadlineExceeded, "the deadline of the call has passed"), Metadata())
                if stream.isKnown {
                    tell(stream, .ended(CallHandle(connection: self, stream: stream.id), .deadlineExceeded))
                }
            }
        }
        return next
    }

    // MARK: Drain

    /// Takes no new calls, ends watches of the health, lets the other calls finish, then closes. From any thread.
    public func drain() {
        if eventLoop.inEventLoop { beginDrain() } else { eventLoop.execute { self.beginDrain() } }
    }

    /// Closes at once; calls are told that the connection was lost. From any thread.
    public func close() {
        eventLoop.execute { self.context?.close(promise: nil) }
    }

    /// Two steps (RFC 9113 section 6.8): a GOAWAY that still admits every stream, and, when its PING has come back and so
    /// every call sent before it has arrived, the one that names the last.
    private func beginDrain() {
        guard !isDraining, let session else { return }
        isDraining = true
        endHealthWatches()
        for service in services { service.draining(self) }
        nghttp2_submit_shutdown_notice(session)
        ping(HTTP2Codec.drainPing)
        drainTimer = eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [weak self] in self?.admitNoMore() }
        flush()
    }

    override func pingAnswered(_ payload: UInt8) {
        guard payload == HTTP2Codec.drainPing, isDraining else { return }
        drainTimer?.cancel()
        // Outside the codec: the pass that follows every read sends it.
        drainTimer = eventLoop.assumeIsolated().scheduleTask(in: .zero) { [weak self] in self?.admitNoMore() }
    }

    private func admitNoMore() {
        guard let session else { return }
        // The codec closes for reading and writing once the last stream has ended; the flush then closes the channel.
        nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), highestStream, HTTP2ErrorCode.noError.rawValue, nil, 0)
        flush()
    }
}
