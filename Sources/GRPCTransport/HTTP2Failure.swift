internal import CNghttp2

/// The error codes of RFC 9113 section 7 that we send or judge by.
enum HTTP2ErrorCode: UInt32 {
    case noError = 0
    case protocolError = 1
    case internalError = 2
    case flowControlError = 3
    case refusedStream = 7
    case cancel = 8
    case enhanceYourCalm = 11
    case inadequateSecurity = 12

    /// What a call is told whose stream was reset without a status.
    ///
    /// Source: grpc/grpc, doc/PROTOCOL-HTTP2.md, "Errors".
    static func status(ofReset code: UInt32) -> GRPCStatus {
        switch HTTP2ErrorCode(rawValue: code) {
        case .refusedStream: GRPCStatus(.unavailable, "the server refused the stream")
        case .cancel: GRPCStatus(.cancelled, "the stream was cancelled")
        case .enhanceYourCalm: GRPCStatus(.resourceExhausted, "the server asks for calm")
        case .inadequateSecurity: GRPCStatus(.permissionDenied, "inadequate security")
        case .noError, .protocolError, .internalError, .flowControlError, nil:
            GRPCStatus(.internal, "the stream was reset with code \(code)")
        }
    }
}

/// Why a connection cannot go on.
struct HTTP2Failure: Error, Hashable {
    /// One word for metrics.
    enum Reason: String, CaseIterable {
        case protocolError = "protocol_error"
        case headerFlood = "header_flood"
        case resetFlood = "reset_flood"
        case idleFrameFlood = "idle_frame_flood"
        /// The peer leaves answers lying.
        case unreadAnswers = "unread_answers"
        /// The peer no longer answers.
        case silence
    }

    let code: HTTP2ErrorCode
    let reason: Reason
    let message: String
    /// Whether the GOAWAY that says so was submitted.
    var isAnnounced = false

    /// The codec has sent a GOAWAY of its own.
    init(announced code: UInt32) {
        self.code = HTTP2ErrorCode(rawValue: code) ?? .protocolError
        reason = self.code == .enhanceYourCalm ? .idleFrameFlood : .protocolError
        message = "the peer broke the protocol, code \(code)"
        isAnnounced = true
    }

    init(_ code: HTTP2ErrorCode, _ reason: Reason, _ message: String) {
        self.code = code
        self.reason = reason
        self.message = message
    }

    /// What the codec said; it has submitted the GOAWAY itself where the protocol wants one.
    init(codec error: Int32) {
        switch nghttp2_error(error) {
        case NGHTTP2_ERR_FLOODED: (code, reason) = (.enhanceYourCalm, .idleFrameFlood)
        case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS: (code, reason) = (.enhanceYourCalm, .headerFlood)
        default: (code, reason) = (.protocolError, .protocolError)
        }
        message = String(cString: nghttp2_strerror(error))
    }
}
