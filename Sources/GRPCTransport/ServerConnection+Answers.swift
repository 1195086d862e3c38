internal import CNghttp2
internal import NIOCore

extension ServerConnection {
    /// Sends answers of calls on any connections, from any thread; those of one event loop share one wake-up, and those of
    /// one connection one write.
    public static func deliver(_ answers: [Answer]) {
        guard let first = answers.first?.call.connection.mailbox else { return }
        if answers.allSatisfy({ $0.call.connection.mailbox === first }) {
            first.post(answers)
            return
        }
        var boxes: [(AnswerMailbox, [Answer])] = []
        for answer in answers {
            let mailbox = answer.call.connection.mailbox
            if let index = boxes.firstIndex(where: { $0.0 === mailbox }) {
                boxes[index].1.append(answer)
            } else {
                boxes.append((mailbox, [answer]))
            }
        }
        for (mailbox, answers) in boxes { mailbox.post(answers) }
    }

    /// On the loop of all the connections.
    static func perform(_ answers: [Answer]) {
        var touched: [ServerConnection] = []
        for answer in answers {
            let connection = answer.call.connection
            switch answer.kind {
            case .begin: connection.begin(answer.call)
            case .reply(let message): connection.reply(message, on: answer.call)
            case .message(let message): connection.send(message, on: answer.call)
            case .finish(let status, let trailers): connection.finish(answer.call, status, trailers)
            }
            if !connection.wantsFlush {
                connection.wantsFlush = true
                touched.append(connection)
            }
        }
        for connection in touched {
            connection.wantsFlush = false
            connection.flush()
        }
    }

    /// Answers with one message and success. Leaves with the next ``flushAnswers()`` or at the end of the batch.
    public func reply(_ message: [UInt8], on call: CallHandle) {
        eventLoop.preconditionInEventLoop()
        guard let stream = streams[call.stream], stream.answering != .finished else { return }
        guard queueReply(message, on: stream) else { return }
        stream.trailers = (.ok, Metadata())
        stream.answering = .finished
        metrics.ended(stream.route, .ok)
        sendBody(of: stream)
    }

    /// Queues one of several messages.
    ///
    /// - Returns: whether there is credit left, of the stream and of the connection; after false, wait for ``CallEvent/writable(_:)``. Whoever goes on regardless
    ///   loses the call when ``TransportOptions/maximumQueuedBytes`` are queued. With credit, a message may be of any size.
    @discardableResult
    public func send(_ message: [UInt8], on call: CallHandle) -> Bool {
        eventLoop.preconditionInEventLoop()
        guard let stream = streams[call.stream], stream.answering != .finished else { return false }
        let queued = stream.outbound.queuedBytes
        guard queued < options.streamCreditBytes || queued + message.count <= options.maximumQueuedBytes else {
            stream.answering = .finished
            metrics.ended(stream.route, .resourceExhausted)
            reset(call.stream, .enhanceYourCalm)
            tell(stream, .ended(call, .cancelled))
            return false
        }
        stream.outbound.append(message)
        queuedMessageBytes += message.count + MessageAssembler.prefixBytes
        stream.answering = .answering
        sendBody(of: stream)
        let isWithheld = queuedMessageBytes >= options.connectionCreditBytes
        if isWithheld { withheld.insert(stream.id) }
        // Once withheld, credit comes back by the event alone: whoever was told that there is none waits for that.
        if isWithheld || stream.outbound.queuedBytes >= options.streamCreditBytes { stream.lacksCredit = true }
        return !stream.lacksCredit
    }

    /// Messages of streams have left, or never will.
    func messagesLeft(_ bytes: Int) {
        let limit = options.connectionCreditBytes / 2
        let wasAbove = queuedMessageBytes >= limit
        queuedMessageBytes -= bytes
        guard wasAbove, queuedMessageBytes < limit, !withheld.isEmpty else { return }
        let waiting = withheld.sorted()
        withheld = []
        for id in waiting { if let stream = streams[id] { giveCredit(to: stream) } }
    }

    /// Tells the service to go on with a stream, if it waits and there is room for it.
    ///
    /// Its own queue and the connection's must be half empty; one that has nothing queued goes on whatever the others
    /// leave lying.
    private func giveCredit(to stream: ServerStream) {
        let queued = stream.outbound.queuedBytes
        guard stream.lacksCredit, stream.answering == .answering, queued < options.streamCreditBytes / 2,
            queued == 0 || !withheld.contains(stream.id)
        else { return }
        withheld.remove(stream.id)
        stream.lacksCredit = false
        tell(stream, .writable(CallHandle(connection: self, stream: stream.id)))
    }

    /// Sends the headers of a streaming answer before its first message, so that the caller knows it has begun.
    public func begin(_ call: CallHandle) {
        eventLoop.preconditionInEventLoop()
        guard let stream = streams[call.stream], stream.answering == .idle else { return }
        stream.answering = .answering
        sendBody(of: stream)
    }

    /// Ends a call, behind the messages that are queued for it.
    public func finish(_ call: CallHandle, _ status: GRPCStatus, _ trailers: Metadata = Metadata()) {
        eventLoop.preconditionInEventLoop()
        guard let stream = streams[call.stream], stream.answering != .finished else { return }
        finish(stream, status, trailers)
    }

    /// Ends a call at once, for a caller who has stopped reading: what is queued for it never leaves, nor does a status.
    public func abandon(_ call: CallHandle) {
        eventLoop.preconditionInEventLoop()
        guard let stream = streams[call.stream], stream.answering != .finished else { return }
        stream.answering = .finished
        metrics.ended(stream.route, .deadlineExceeded)
        reset(call.stream, .cancel)
        flush()
    }

    /// Lets the caller send as much again as a request of `messageBytes` took of its window.
    public func acknowledge(_ call: CallHandle, messageBytes: Int) {
        eventLoop.preconditionInEventLoop()
        guard let stream = streams[call.stream] else { return }
        release(messageBytes, by: stream)
        consumeStream(call.stream, stream.ahead.release(messageBytes + MessageAssembler.prefixBytes))
    }

    /// Unary answers wait for no credit, so they are bounded here; messages of streams are by their credit.
    ///
    /// - Returns: false when the connection is about to be closed: its reader has left too many answers lying.
    private func queueReply(_ message: [UInt8], on stream: ServerStream) -> Bool {
        guard failure == nil else { return false }
        stream.isReply = true
        queuedAnswerBytes += message.count + MessageAssembler.prefixBytes
        stream.outbound.append(message)
        guard queuedAnswerBytes > options.maximumAnswerBytes else { return true }
        fail(HTTP2Failure(.enhanceYourCalm, .unreadAnswers, "\(queuedAnswerBytes) bytes of answers that nobody reads"))
        return false
    }

    /// Writes what was answered outside ``GRPCService/received(_:on:)``, ``GRPCService/occurred(_:on:)`` and
    /// ``deliver(_:)``.
    public func flushAnswers() {
        eventLoop.preconditionInEventLoop()
        flush()
    }

    // MARK: Helpers

    func finish(_ stream: ServerStream, _ status: GRPCStatus, _ trailers: Metadata) {
        stream.answering = .finished
        metrics.ended(stream.route, status.code)
        guard stream.hasBody else {
            sendTrailersOnly(on: stream, status, trailers)
            return
        }
        stream.trailers = (status, trailers)
        resume(stream)
    }

    private func sendBody(of stream: ServerStream) {
        guard let session else { return }
        guard !stream.hasBody else {
            resume(stream)
            return
        }
        stream.hasBody = true
        var provider = HTTP2Codec.provider()
        nghttp2_submit_response(session, stream.id, FixedFields.response.0, FixedFields.response.1, &provider)
    }

    private func resume(_ stream: ServerStream) {
        guard stream.isDeferred, let session else { return }
        stream.isDeferred = false
        nghttp2_session_resume_data(session, stream.id)
    }

    private func sendTrailersOnly(on stream: ServerStream, _ status: GRPCStatus, _ trailers: Metadata) {
        guard let session else { return }
        fields.removeAll()
        fields.add(":status", "200")
        fields.add("content-type", "application/grpc")
        addStatus(status, trailers)
        _ = fields.withFields { nghttp2_submit_response(session, stream.id, $0, $1, nil) }
    }

    /// An answer for what does not even look like gRPC.
    func refuse(_ stream: ServerStream, httpStatus: String) {
        guard let session else { return }
        stream.answering = .finished
        metrics.refused(httpStatus: httpStatus)
        fields.removeAll()
        fields.add(":status", httpStatus)
        _ = fields.withFields { nghttp2_submit_response(session, stream.id, $0, $1, nil) }
    }

    private func addStatus(_ status: GRPCStatus, _ trailers: Metadata) {
        fields.add("grpc-status", String(status.code.rawValue))
        if !status.message.isEmpty { fields.add("grpc-message", PercentCoding.encode(status.message)) }
        if status.code == .unimplemented { fields.add("grpc-accept-encoding", "identity,gzip") }
        fields.add(trailers)
    }

    // MARK: Codec

    func fillBody(_ stream: ServerStream, _ target: UnsafeMutableRawBufferPointer, _ flags: inout UInt32) -> Int {
        let count = stream.outbound.read(into: target)
        if stream.isReply { queuedAnswerBytes -= count } else { messagesLeft(count) }
        giveCredit(to: stream)
        guard stream.outbound.isEmpty else { return count }
        if let (status, trailers) = stream.trailers {
            flags |= NGHTTP2_DATA_FLAG_EOF.rawValue | NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
            submitTrailers(stream, status, trailers)
            return count
        }
        guard count == 0 else { return count }
        stream.isDeferred = true
        return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }

    private func submitTrailers(_ stream: ServerStream, _ status: GRPCStatus, _ trailers: Metadata) {
        guard let session else { return }
        if status.code == .ok, trailers.isEmpty {
            nghttp2_submit_trailer(session, stream.id, FixedFields.success.0, FixedFields.success.1)
            return
        }
        fields.removeAll()
        addStatus(status, trailers)
        _ = fields.withFields { nghttp2_submit_trailer(session, stream.id, $0, $1) }
    }
}
