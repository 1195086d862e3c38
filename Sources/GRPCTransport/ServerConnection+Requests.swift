internal import CNghttp2
internal import NIOCore

/// The caller's half of a stream: fields, messages, end.
extension ServerConnection {
    func beginRequest(_ id: Int32) {
        guard streams[id] == nil else { return }
        streams[id] = ServerStream(id)
        highestStream = max(highestStream, id)
    }

    func requestField(_ id: Int32, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        guard let stream = streams[id] else { return }
        stream.headerBytes += name.count + value.count + 32
        if stream.headerBytes > options.maximumHeaderBytes {
            // A little over is a refused call; far over is somebody who does not listen to what we announced.
            if stream.headerBytes > options.maximumHeaderBytes * 4 {
                fail(HTTP2Failure(.enhanceYourCalm, .headerFlood, "header list far above the limit"))
            }
            stream.refusal = GRPCStatus(.resourceExhausted, "more than \(options.maximumHeaderBytes) bytes of metadata")
            stream.refusalReason = .tooLarge
            return
        }
        // Trailers of a request mean nothing.
        guard !stream.isOpen else { return }
        switch RequestField(name) {
        case .method: stream.isPost = RequestField.equal(value, "POST")
        case .path: resolve(stream, value)
        case .contentType: stream.isGRPC = RequestField.isGRPC(contentType: value)
        case .te: stream.acceptsTrailers = RequestField.equal(value, "trailers")
        case .timeout:
            if let timeout = GRPCTimeout.parse(value) {
                stream.deadline = lastReadAt + timeout
            } else {
                stream.refusal = GRPCStatus(.internal, "malformed grpc-timeout")
            }
        case .encoding:
            if RequestField.equal(value, "gzip") {
                stream.assembler.acceptsGzip = true
            } else if !RequestField.equal(value, "identity") {
                stream.refusal = GRPCStatus(.unimplemented, "of compression only gzip is supported")
            }
        case .ignored: break
        case .custom: stream.metadata.received(name: name, value: value)
        }
    }

    private func resolve(_ stream: ServerStream, _ path: UnsafeBufferPointer<UInt8>) {
        if let number = router.find(path) {
            let route = router.routes[number]
            stream.route = number
            stream.service = route.service
            stream.method = route.id
            stream.kind = route.kind
        } else if RequestField.equal(path, "/grpc.health.v1.Health/Check") {
            stream.route = Self.healthCheck
        } else if RequestField.equal(path, "/grpc.health.v1.Health/Watch") {
            stream.route = Self.healthWatch
        } else {
            stream.route = Self.unknownMethod
            stream.service = router.owner(ofUnknown: path)
        }
    }

    static let healthCheck = -2
    static let healthWatch = -3
    static let unknownMethod = -1

    func requestOpened(_ id: Int32) {
        guard let stream = streams[id], !stream.isOpen else { return }
        stream.isOpen = true
        if !stream.isPost {
            refuse(stream, httpStatus: "405")
        } else if !stream.isGRPC {
            refuse(stream, httpStatus: "415")
        } else if let refusal = stream.refusal {
            refuse(stream, refusal)
        } else if !stream.acceptsTrailers {
            refuse(stream, GRPCStatus(.internal, "te: trailers is missing"))
        } else if stream.route == Self.unknownMethod {
            refuse(stream, GRPCStatus(.unimplemented, "no such method"))
        } else {
            if let deadline = stream.deadline { watch(deadline) }
            if stream.isKnown, stream.kind == .streaming { tell(stream, .opened(inboundCall(stream, message: []))) }
        }
    }

    func requestData(_ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
        consumeConnection(bytes.count)
        guard let stream = streams[id], stream.answering != .finished else {
            consumeStream(id, bytes.count)
            return
        }
        let isStreaming = stream.isKnown && stream.kind == .streaming
        let before = stream.assembler.bufferedBytes
        do throws(MessageAssembler.Failure) {
            try stream.assembler.append(bytes, maximumMessageBytes: options.maximumMessageBytes) { message, wireBytes in
                hold(message.count, by: stream)
                if isStreaming {
                    stream.ahead.completed(grownBy: max(message.count - wireBytes, 0))
                    if wireBytes > message.count { consumeStream(id, wireBytes - message.count) }
                    tell(stream, .message(CallHandle(connection: self, stream: id), message))
                } else if stream.request == nil {
                    stream.request = message
                } else {
                    stream.refusal = GRPCStatus(.unimplemented, "more than one request for a unary method")
                }
            }
        } catch {
            stream.refusal = Self.status(of: error, limit: options.maximumMessageBytes)
            switch error {
            case .tooLarge, .inflatesTooLarge: stream.refusalReason = .tooLarge
            case .compressed, .malformedGzip, .badFlag: break
            }
        }
        bufferedBytes += stream.assembler.bufferedBytes - before
        if bufferedBytes > options.maximumBufferedBytes {
            stream.refusal = GRPCStatus(.resourceExhausted, "too many bytes of requests on this connection")
            stream.refusalReason = .busy
        }
        // The window of a streaming request opens again when its service acknowledges; all others are bounded by the
        // message limit and the connection's bound, so theirs opens at once. A message larger than the window must be
        // let through all the same.
        if isStreaming {
            let buffered = stream.assembler.bufferedBytes
            consumeStream(
                id, stream.ahead.received(bytes.count, buffered: buffered, window: options.streamWindowBytes))
        } else {
            consumeStream(id, bytes.count)
        }
        if let refusal = stream.refusal { refuse(stream, refusal) }
    }

    func requestEnded(_ id: Int32) {
        guard let stream = streams[id], stream.answering != .finished else { return }
        stream.isRemoteClosed = true
        if stream.assembler.isMidMessage {
            refuse(stream, GRPCStatus(.internal, "the request ends inside a message"))
            return
        }
        if stream.isKnown, stream.kind == .streaming {
            tell(stream, .halfClosed(CallHandle(connection: self, stream: id)))
            return
        }
        guard let message = stream.request else {
            refuse(stream, GRPCStatus(.unimplemented, "no request for a unary method"))
            return
        }
        stream.request = nil
        if stream.isKnown {
            handOn(stream)
            tell(stream, complete: inboundCall(stream, message: message))
        } else {
            answerHealth(stream, message)
        }
    }

    func requestClosed(_ id: Int32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        bufferedBytes -= stream.assembler.bufferedBytes + stream.heldBytes
        withheld.remove(id)
        if stream.isReply {
            queuedAnswerBytes -= stream.outbound.queuedBytes
        } else {
            messagesLeft(stream.outbound.queuedBytes)
        }
        if let watch = healthWatches.removeValue(forKey: id) { health.unwatch(watch) }
        if stream.isKnown, stream.isOpen, stream.answering != .finished {
            tell(stream, .ended(CallHandle(connection: self, stream: id), .cancelled))
            metrics.ended(stream.route, .cancelled)
        }
    }

    /// Our half has ended: a caller that is still sending is told to stop (RFC 9113 section 8.1).
    func answerEnded(_ id: Int32) {
        guard let stream = streams[id], !stream.isRemoteClosed else { return }
        reset(id, .noError)
    }

    // MARK: Helpers

    /// A message is whole, and stays here until its service has it; one of a stream, until that is acknowledged.
    private func hold(_ bytes: Int, by stream: ServerStream) {
        stream.heldBytes += bytes
        bufferedBytes += bytes
    }

    /// The service gets what the stream holds at the end of this pass.
    private func handOn(_ stream: ServerStream) {
        undeliveredBytes += stream.heldBytes
        stream.heldBytes = 0
    }

    func release(_ bytes: Int, by stream: ServerStream) {
        let count = min(bytes, stream.heldBytes)
        stream.heldBytes -= count
        bufferedBytes -= count
    }

    private func refuse(_ stream: ServerStream, _ status: GRPCStatus) {
        guard stream.answering != .finished else { return }
        let wasDelivered = stream.isKnown && stream.isOpen && stream.kind == .streaming
        stream.request = nil
        release(stream.heldBytes, by: stream)
        finish(stream, status, services[stream.service].trailers(of: stream.refusalReason, status))
        if wasDelivered { tell(stream, .ended(CallHandle(connection: self, stream: stream.id), .cancelled)) }
    }

    private func inboundCall(_ stream: ServerStream, message: [UInt8]) -> InboundCall {
        InboundCall(
            handle: CallHandle(connection: self, stream: stream.id), method: stream.method, message: message,
            deadline: stream.deadline, metadata: stream.metadata)
    }

    private static func status(of failure: MessageAssembler.Failure, limit: Int) -> GRPCStatus {
        switch failure {
        case .compressed: GRPCStatus(.internal, "a compressed message, and no compression was named")
        case .malformedGzip: GRPCStatus(.internal, "a message that is not gzip")
        case .inflatesTooLarge: GRPCStatus(.resourceExhausted, "a message above the limit of \(limit) when unpacked")
        case .badFlag: GRPCStatus(.internal, "malformed message prefix")
        case .tooLarge(let bytes):
            GRPCStatus(.resourceExhausted, "a message of \(bytes) bytes, above the limit of \(limit)")
        }
    }

    private func answerHealth(_ stream: ServerStream, _ message: [UInt8]) {
        guard let service = HealthMessages.service(ofRequest: message) else {
            refuse(stream, GRPCStatus(.invalidArgument, "malformed health request"))
            return
        }
        let call = CallHandle(connection: self, stream: stream.id)
        if stream.route == Self.healthCheck {
            if let status = health[service] {
                reply(HealthMessages.response(status), on: call)
            } else {
                refuse(stream, GRPCStatus(.notFound, "no such service"))
            }
            return
        }
        guard !isDraining else {
            stream.refusalReason = .draining
            return refuse(stream, GRPCStatus(.unavailable, "the server is stopping"))
        }
        let (number, status) = health.watch(service) { status in
            Self.deliver([.message(call, HealthMessages.response(status))])
        }
        healthWatches[stream.id] = number
        send(HealthMessages.response(status), on: call)
    }
}

extension ServerConnection {
    /// A watch of the health never ends by itself.
    func endHealthWatches() {
        let status = GRPCStatus(.unavailable, "the server is stopping")
        for (id, watch) in healthWatches {
            health.unwatch(watch)
            guard let stream = streams[id], stream.answering != .finished else { continue }
            finish(stream, status, services[stream.service].trailers(of: .draining, status))
        }
        healthWatches = [:]
    }
}

/// Which header field of a request this is, told by length and bytes without making a string.
enum RequestField {
    case method, path, contentType, te, timeout, encoding, ignored, custom

    init(_ name: UnsafeBufferPointer<UInt8>) {
        switch name.count {
        case 2 where Self.equal(name, "te"): self = .te
        case 5 where Self.equal(name, ":path"): self = .path
        case 7 where Self.equal(name, ":method"): self = .method
        case 12 where Self.equal(name, "content-type"): self = .contentType
        case 12 where Self.equal(name, "grpc-timeout"): self = .timeout
        case 13 where Self.equal(name, "grpc-encoding"): self = .encoding
        case 10 where Self.equal(name, "user-agent"): self = .ignored
        default:
            let isReserved = name.first == UInt8(ascii: ":") || name.starts(with: "grpc-".utf8)
            self = isReserved || Self.equal(name, "accept-encoding") || Self.equal(name, "host") ? .ignored : .custom
        }
    }

    static func equal(_ bytes: UnsafeBufferPointer<UInt8>, _ text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        for (index, byte) in bytes.enumerated() where byte != text.utf8Start[index] { return false }
        return true
    }

    /// `application/grpc`, alone or before `+proto`, `;charset` and the like.
    static func isGRPC(contentType: UnsafeBufferPointer<UInt8>) -> Bool {
        guard contentType.starts(with: "application/grpc".utf8) else { return false }
        guard contentType.count > 16 else { return true }
        return contentType[16] == UInt8(ascii: "+") || contentType[16] == UInt8(ascii: ";")
    }
}
