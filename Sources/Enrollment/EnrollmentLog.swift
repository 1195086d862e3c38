internal import Coordination
internal import Logging
internal import Metrics
internal import NIOCore
internal import NIOSSL
internal import Observability

/// Why a connection to the enrolment port let nobody in.
enum EnrollmentEnd: Error {
    /// The request was judged and refused.
    case denied(EnrollmentRefusal, EnrollmentRequest)
    case malformed(String)
    case oversized(Int)
    case noProtocol
    case plaintext
    case notTLS
    case handshakeFailed(String)
    /// The host went away.
    case aborted
    case deadline
    case flood
    case busy

    /// What TLS or the socket says.
    init(_ error: any Error) {
        let text = "\(error)"
        switch error {
        case let end as EnrollmentEnd: self = end
        case NIOSSLError.handshakeFailed(.sslError(let stack)) where stack.contains(.eofDuringHandshake):
            self = .aborted
        case NIOSSLError.uncleanShutdown, is IOError: self = .aborted
        case _ where text.contains("HTTP_REQUEST"): self = .plaintext
        case _ where text.contains("WRONG_VERSION_NUMBER"), _ where text.contains("UNEXPECTED_MESSAGE"):
            self = .notTLS
        default: self = .handshakeFailed(text)
        }
    }

    /// One word from a small fixed set.
    var reason: String {
        switch self {
        case .denied(let refusal, _): refusal.code
        case .malformed: "malformed"
        case .oversized: "oversized"
        case .noProtocol: "no_protocol"
        case .plaintext: "plaintext_http"
        case .notTLS: "not_tls"
        case .handshakeFailed: "handshake_failed"
        case .aborted: "aborted"
        case .deadline: "deadline"
        case .flood: "flood"
        case .busy: "busy"
        }
    }

    /// One line for an operator, and for whoever asked.
    var message: String {
        switch self {
        case .denied(let refusal, _): refusal.message
        case .malformed(let text): "the request cannot be read: \(text)"
        case .oversized(let length):
            "a request of \(length) bytes is larger than \(EnrollmentFrame.maximumRequestBytes)"
        case .noProtocol: "the other end does not speak \(EnrollmentFrame.applicationProtocol)"
        case .plaintext: "plaintext HTTP on the enrolment port, which speaks TLS 1.3 only"
        case .notTLS: "the bytes are no TLS"
        case .handshakeFailed(let text): text
        case .aborted: "the host left before it had its answer"
        case .deadline: "the request took too long"
        case .flood: "too many connections at once; the oldest makes room"
        case .busy: "too many requests are being decided"
        }
    }
}

/// Counts what happens at the enrolment port and tells the log, refusals at most once per reason and second.
final class EnrollmentLog: Sendable {
    private let logger: Logger
    private let lines = LineBudget()

    init(logger: Logger) { self.logger = logger }

    func enrolled(_ enrolled: Enrolled, _ request: EnrollmentRequest, remote: SocketAddress?) {
        Counter(label: "enroll.nodes").increment()
        logger.info(
            "a node was let in",
            metadata: [
                "member": "\(request.member.name)", "node.id": "\(enrolled.node)", "token": "\(request.token)",
                "remote": "\(remote?.description ?? "unknown")",
            ])
    }

    func refused(_ end: EnrollmentEnd, remote: SocketAddress?) {
        Counter(label: "enroll.refused", dimensions: [("reason", end.reason)]).increment()
        guard let suppressed = lines.admit(end.reason) else { return }
        var metadata: Logger.Metadata = [
            "reason": "\(end.reason)", "error": "\(end.message)", "remote": "\(remote?.description ?? "unknown")",
            "suppressed": "\(suppressed)",
        ]
        if case .denied(_, let request) = end {
            metadata["token"] = "\(request.token)"
            metadata["member"] = "\(request.member.name)"
        }
        logger.warning("nobody was let in at the enrolment port", metadata: metadata)
    }
}
