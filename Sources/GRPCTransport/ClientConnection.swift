internal import CNghttp2
public import NIOCore
internal import Synchronization

/// The client's end of one connection: many calls at once, from any thread.
///
/// Calls submitted while the event loop is busy are gathered and started together, with one wake-up and one write.
/// Completions come on the event loop, once each, whatever happens.
public final class ClientConnection: HTTP2Connection, @unchecked Sendable {
    enum Request {
        case start(ClientStream)
        case cancel(ClientStream)
        case send(ClientStream, [UInt8])
        case awaitRoom(ClientStream, @Sendable () -> Void)
        case halfClose(ClientStream)
        case acknowledge(ClientStream, Int)
        case close
    }

    /// Succeeds when the connection is gone, for whatever reason.
    public let closed: EventLoopFuture<Void>
    private let closedPromise: EventLoopPromise<Void>
    private let ready: EventLoopPromise<ClientConnection>
    private let authority: String
    private let requests = Mutex<[Request]>([])
    private let usable = Atomic<Bool>(false)

    var streams: [Int32: ClientStream] = [:]
    var events: [(ClientStream, ClientStreamEvent)] = []
    private var replies: [(ClientStream, Result<ClientReply, CallFailure>)] = []
    private var isDispatching = false
    private var isFlushScheduled = false
    private var isReady = false
    private var isReadyTold = false

    init(
        eventLoop: any EventLoop, authority: String, ready: EventLoopPromise<ClientConnection>,
        options: TransportOptions
    ) {
        self.authority = authority
        self.ready = ready
        closedPromise = eventLoop.makePromise()
        closed = closedPromise.futureResult
        super.init(eventLoop: eventLoop, isServer: false, options: options, turns: TurnQueue(eventLoop: eventLoop))
    }

    /// Whether new calls have a chance: false before the server's settings, after a GOAWAY and when it is gone.
    public var isUsable: Bool { usable.load(ordering: .relaxed) }

    // MARK: Calls, from any thread

    /// Starts a unary call.
    ///
    /// - Parameter completion: called once, on ``HTTP2Connection/eventLoop``, and should be quick.
    @discardableResult
    public func start(
        _ call: ClientCall, completion: @escaping @Sendable (Result<ClientReply, CallFailure>) -> Void
    ) -> ClientStream {
        let stream = ClientStream(connection: self, call: call, handler: .unary(completion), endsWithFirstMessage: true)
        post(.start(stream))
        return stream
    }

    /// Starts several unary calls with one wake-up.
    public func start(
        _ calls: [(ClientCall, @Sendable (Result<ClientReply, CallFailure>) -> Void)]
    ) {
        post(
            calls.map { call, completion in
                .start(
                    ClientStream(connection: self, call: call, handler: .unary(completion), endsWithFirstMessage: true))
            })
    }

    /// Starts a streaming call.
    ///
    /// - Parameter endsWithFirstMessage: the request is the call's message and no more: a server-streaming method.
    public func open(
        _ call: ClientCall, endsWithFirstMessage: Bool, handler: @escaping @Sendable (ClientStreamEvent) -> Void
    ) -> ClientStream {
        let stream = ClientStream(
            connection: self, call: call, handler: .streaming(handler), endsWithFirstMessage: endsWithFirstMessage)
        post(.start(stream))
        return stream
    }

    /// A unary call for a task. Cancelling the task resets the stream.
    public func unary(_ call: ClientCall) async -> Result<ClientReply, CallFailure> {
        let started = Mutex<(stream: ClientStream?, isCancelled: Bool)>((nil, false))
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let stream = start(call) { continuation.resume(returning: $0) }
                let isCancelled = started.withLock { started in
                    started.stream = stream
                    return started.isCancelled
                }
                if isCancelled { stream.cancel() }
            }
        } onCancel: {
            let stream = started.withLock { started in
                started.isCancelled = true
                return started.stream
            }
            stream?.cancel()
        }
    }

    /// Closes the connection; calls under way fail.
    public func close() { post(.close) }

    func post(_ request: Request) {
        if eventLoop.inEventLoop {
            perform(request)
            scheduleFlush()
        } else {
            post([request])
        }
    }

    private func post(_ batch: [Request]) {
        let wasEmpty = requests.withLock { requests in
            defer { requests.append(contentsOf: batch) }
            return requests.isEmpty
        }
        if wasEmpty { eventLoop.execute { self.performPosted() } }
    }

    private func performPosted() {
        let batch = requests.withLock { requests in
            let batch = requests
            requests = []
            requests.reserveCapacity(min(batch.count, 4096))
            return batch
        }
        for request in batch { perform(request) }
        flush()
    }

    /// Within a pass over what was read, the pass flushes; elsewhere the end of this turn of the loop does.
    private func scheduleFlush() {
        guard !isDispatching, !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.execute {
            self.isFlushScheduled = false
            self.flush()
        }
    }

    private func perform(_ request: Request) {
        switch request {
        case .start(let stream): begin(stream)
        case .cancel(let stream):
            abandon(stream, GRPCStatus(.cancelled, "the call was cancelled"))
        case .send(let stream, let message):
            guard !stream.isEnded, !stream.isHalfClosed else { return }
            guard stream.outbound.queuedBytes + message.count <= options.maximumQueuedBytes else {
                abandon(stream, GRPCStatus(.resourceExhausted, "more requests queued than the limit"))
                return
            }
            stream.outbound.append(message)
            resume(stream)
        case .awaitRoom(let stream, let body):
            guard !stream.isEnded, stream.outbound.queuedBytes >= options.streamCreditBytes else { return body() }
            stream.roomWaiters.append(body)
        case .halfClose(let stream):
            stream.isHalfClosed = true
            resume(stream)
        case .acknowledge(let stream, let messageBytes):
            guard !stream.isEnded else { return }
            consumeStream(stream.id, stream.ahead.release(messageBytes + MessageAssembler.prefixBytes))
        case .close:
            context?.close(promise: nil)
        }
    }

    // MARK: Starting and ending

    private func begin(_ stream: ClientStream) {
        guard let session, usable.load(ordering: .relaxed) else {
            end(stream, .failure(CallFailure(GRPCStatus(.unavailable, "not connected"), mayHaveArrived: false)))
            return
        }
        guard streams.count < options.maximumConcurrentCalls else {
            let status = GRPCStatus(.resourceExhausted, "too many calls in flight on this connection")
            end(stream, .failure(CallFailure(status, mayHaveArrived: false)))
            return
        }
        fields.removeAll()
        fields.add(":method", "POST")
        fields.add(":scheme", "https")
        fields.add(":path", stream.call.path)
        fields.add(":authority", authority)
        fields.add("te", "trailers")
        fields.add("content-type", "application/grpc")
        fields.add("user-agent", "esper-swift")
        if let timeout = stream.call.timeout {
            fields.add("grpc-timeout", GRPCTimeout.format(timeout))
            let deadline = NIODeadline.now() + timeout
            stream.deadline = deadline
            watch(deadline)
        }
        fields.add(stream.call.metadata)
        stream.outbound.append(stream.call.message)
        var provider = HTTP2Codec.provider()
        let id = fields.withFields { nghttp2_submit_request(session, nil, $0, $1, &provider, nil) }
        guard id > 0 else {
            // Stream numbers are used up after 2^30 calls; a new connection begins again.
            usable.store(false, ordering: .relaxed)
            end(stream, .failure(CallFailure(GRPCStatus(.unavailable, "connection used up"), mayHaveArrived: false)))
            return
        }
        stream.id = id
        streams[id] = stream
    }

    /// Ends a call from this side.
    private func abandon(_ stream: ClientStream, _ status: GRPCStatus) {
        guard !stream.isEnded else { return }
        if streams.removeValue(forKey: stream.id) != nil { reset(stream.id, .cancel) }
        end(stream, .failure(CallFailure(status, mayHaveArrived: stream.wasSent)))
    }

    func end(_ stream: ClientStream, _ result: Result<ClientReply, CallFailure>) {
        guard !stream.isEnded else { return }
        stream.isEnded = true
        giveRoom(to: stream)
        switch stream.handler {
        case .unary: replies.append((stream, result))
        case .streaming: events.append((stream, .ended(result.map { $0.metadata })))
        case .over: break
        }
        scheduleFlush()
    }

    private func giveRoom(to stream: ClientStream) {
        guard !stream.roomWaiters.isEmpty else { return }
        let waiters = stream.roomWaiters
        stream.roomWaiters = []
        for waiter in waiters { waiter() }
    }

    private func resume(_ stream: ClientStream) {
        guard stream.isDeferred, !stream.isEnded, let session else { return }
        stream.isDeferred = false
        nghttp2_session_resume_data(session, stream.id)
    }

    // MARK: Events

    override func readCompleted() {
        if isReady, !isReadyTold {
            isReadyTold = true
            ready.succeed(self)
        }
        _ = dispatch()
    }

    override func flushed() -> Bool { dispatch() }

    /// - Returns: whether there was anything.
    private func dispatch() -> Bool {
        guard !isDispatching, !replies.isEmpty || !events.isEmpty else { return false }
        isDispatching = true
        defer { isDispatching = false }
        // Completions may start calls, which may fail at once and so add completions.
        while !replies.isEmpty || !events.isEmpty {
            let (endedNow, happened) = (replies, events)
            replies = []
            events = []
            for (stream, event) in happened {
                guard case .streaming(let handler) = stream.handler else { continue }
                if case .ended = event { stream.handler = .over }
                handler(event)
            }
            for (stream, result) in endedNow {
                guard case .unary(let completion) = stream.handler else { continue }
                stream.handler = .over
                completion(result)
            }
        }
        return true
    }

    override func settingsReceived() {
        isReady = true
        usable.store(true, ordering: .relaxed)
    }

    override func goAwayReceived(lastStream: Int32, errorCode: UInt32) { usable.store(false, ordering: .relaxed) }

    override func deadlinesDue(_ now: NIODeadline) -> NIODeadline? {
        var next: NIODeadline?
        for stream in streams.values {
            guard let deadline = stream.deadline else { continue }
            if deadline > now {
                next = min(next ?? deadline, deadline)
            } else {
                abandon(stream, GRPCStatus(.deadlineExceeded, "no answer in time"))
            }
        }
        return next
    }

    override func disconnected() {
        usable.store(false, ordering: .relaxed)
        let status = GRPCStatus(.unavailable, failure?.message ?? "the connection was lost")
        for stream in streams.values { end(stream, .failure(CallFailure(status, mayHaveArrived: stream.wasSent))) }
        streams = [:]
        _ = dispatch()
        ready.fail(CallFailure(status, mayHaveArrived: false))
        closedPromise.succeed()
    }

    // MARK: Codec

    override func headersSent(_ stream: Int32, endStream: Bool) { streams[stream]?.wasSent = true }

    override func headersNotSent(_ stream: Int32) {
        guard let stream = streams.removeValue(forKey: stream) else { return }
        let status = GRPCStatus(.unavailable, "the server takes no more calls on this connection")
        end(stream, .failure(CallFailure(status, mayHaveArrived: false)))
    }

    override func fill(_ stream: Int32, _ target: UnsafeMutableRawBufferPointer, _ flags: inout UInt32) -> Int {
        guard let stream = streams[stream] else { return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue) }
        let count = stream.outbound.read(into: target)
        if stream.outbound.queuedBytes < options.streamCreditBytes / 2 { giveRoom(to: stream) }
        guard stream.outbound.isEmpty else { return count }
        if stream.isHalfClosed {
            flags |= NGHTTP2_DATA_FLAG_EOF.rawValue
        } else if count == 0 {
            stream.isDeferred = true
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        return count
    }

    override func field(_ stream: Int32, name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        answerField(stream, name, value)
    }

    override func headersEnded(_ stream: Int32, endStream: Bool) { answerOpened(stream, endStream: endStream) }

    override func data(_ stream: Int32, _ bytes: UnsafeBufferPointer<UInt8>) { answerData(stream, bytes) }

    override func streamClosed(_ stream: Int32, errorCode: UInt32) { answerClosed(stream, errorCode: errorCode) }
}
