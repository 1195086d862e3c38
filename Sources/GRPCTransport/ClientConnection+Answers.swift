internal import CNghttp2
internal import NIOCore

/// The server's half of a stream: fields, messages, end.
extension ClientConnection {
    func answerField(_ id: Int32, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        guard let stream = streams[id] else { return }
        stream.headerBytes += name.count + value.count + 32
        guard stream.headerBytes <= options.maximumHeaderBytes * 2 else {
            stream.failure = GRPCStatus(.resourceExhausted, "more metadata than the limit")
            return
        }
        switch ResponseField(name) {
        case .status: stream.httpStatus = ResponseField.number(value) ?? 0
        case .grpcStatus:
            stream.status = ResponseField.number(value).flatMap { UInt8(exactly: $0) }.map {
                GRPCCode(rawValue: $0) ?? .unknown
            }
        case .grpcMessage: stream.statusMessage = PercentCoding.decode(value)
        case .ignored: break
        case .custom: stream.metadata.received(name: name, value: value)
        }
    }

    func answerOpened(_ id: Int32, endStream: Bool) {
        guard let stream = streams[id], !stream.hasBegun, stream.httpStatus >= 200 else { return }
        stream.hasBegun = true
        if !endStream, case .streaming = stream.handler { events.append((stream, .began(stream.metadata))) }
    }

    func answerData(_ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
        consumeConnection(bytes.count)
        guard let stream = streams[id], stream.failure == nil, stream.httpStatus == 200 else {
            consumeStream(id, bytes.count)
            return
        }
        var isStreaming = false
        if case .streaming = stream.handler { isStreaming = true }
        do throws(MessageAssembler.Failure) {
            try stream.assembler.append(bytes, maximumMessageBytes: options.maximumMessageBytes) { message, _ in
                if isStreaming {
                    stream.ahead.completed()
                    events.append((stream, .message(message)))
                } else if stream.reply == nil {
                    stream.reply = message
                } else {
                    stream.failure = GRPCStatus(.unimplemented, "more than one answer to a unary call")
                }
            }
        } catch {
            stream.failure = ResponseField.status(of: error)
        }
        if isStreaming {
            let buffered = stream.assembler.bufferedBytes
            consumeStream(
                id, stream.ahead.received(bytes.count, buffered: buffered, window: options.streamWindowBytes))
        } else {
            consumeStream(id, bytes.count)
        }
        if let failure = stream.failure {
            streams.removeValue(forKey: id)
            reset(id, .cancel)
            end(stream, .failure(CallFailure(failure, mayHaveArrived: true)))
        }
    }

    func answerClosed(_ id: Int32, errorCode: UInt32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        let code = HTTP2ErrorCode(rawValue: errorCode)
        if let status = stream.status, status == .ok, stream.failure == nil {
            if case .unary = stream.handler, stream.reply == nil {
                let status = GRPCStatus(.internal, "success without an answer")
                end(stream, .failure(CallFailure(status, metadata: stream.metadata, mayHaveArrived: true)))
            } else {
                end(stream, .success(ClientReply(message: stream.reply ?? [], metadata: stream.metadata)))
            }
            return
        }
        let status: GRPCStatus
        if let failure = stream.failure {
            status = failure
        } else if let code = stream.status {
            status = GRPCStatus(code, stream.statusMessage)
        } else if stream.httpStatus != 0, stream.httpStatus != 200 {
            status = GRPCStatus(GRPCCode(httpStatus: stream.httpStatus), "HTTP status \(stream.httpStatus)")
        } else {
            status = HTTP2ErrorCode.status(ofReset: errorCode)
        }
        // REFUSED_STREAM promises that nothing was processed (RFC 9113 section 8.7); so does a GOAWAY below the stream.
        end(
            stream,
            .failure(CallFailure(status, metadata: stream.metadata, mayHaveArrived: code != .refusedStream)))
    }
}
