internal import Identity
internal import Logging
internal import Metrics
internal import NIOSSL
internal import Observability

/// Why a connection to the API port was closed before it could say anything.
enum RefusedConnection: Error {
    case certificate(CertificateRefusal)
    case plaintext
    case notTLS
    case handshakeFailed(String)
    case handshakeTimeout
    /// The client went away in the middle of the handshake.
    case aborted
    /// ALPN agreed on nothing we serve.
    case noProtocol(String)
    case tooManyConnections
    /// Closed during the handshake to make room for a newer one: ``APIOptions/maximumUnauthenticated``.
    case flood
    case draining
    case setupFailed(String)

    /// What TLS says when the handshake fails.
    init(_ error: any Error) {
        let text = "\(error)"
        switch error {
        case let refusal as RefusedConnection: self = refusal
        case NIOSSLError.handshakeFailed(.sslError(let stack)) where stack.contains(.eofDuringHandshake):
            self = .aborted
        case NIOSSLError.uncleanShutdown: self = .aborted
        case _ where text.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE"): self = .certificate(.missing)
        case _ where text.contains("HTTP_REQUEST"): self = .plaintext
        case _ where text.contains("WRONG_VERSION_NUMBER"), _ where text.contains("UNEXPECTED_MESSAGE"):
            self = .notTLS
        default: self = .handshakeFailed(text)
        }
    }

    /// One word from a small fixed set.
    var reason: String {
        switch self {
        case .certificate(let refusal): refusal.reason
        case .plaintext: "plaintext_http"
        case .notTLS: "not_tls"
        case .handshakeFailed: "handshake_failed"
        case .handshakeTimeout: "handshake_timeout"
        case .aborted: "aborted"
        case .noProtocol: "no_protocol"
        case .tooManyConnections: "too_many_connections"
        case .flood: "flood"
        case .draining: "draining"
        case .setupFailed: "setup_failed"
        }
    }

    /// One line for an operator.
    var message: String {
        switch self {
        case .certificate(let refusal): refusal.description
        case .plaintext: "plaintext HTTP on the API port, which speaks TLS 1.3 only"
        case .notTLS: "the bytes are no TLS"
        case .handshakeFailed(let text): text
        case .handshakeTimeout: "the handshake took too long"
        case .aborted: "the client left during the handshake"
        case .noProtocol(let offered): "no protocol in common; agreed on: \(offered)"
        case .tooManyConnections: "the limit of connections is reached"
        case .flood: "too many handshakes at once; the oldest makes room"
        case .draining: "the node is stopping"
        case .setupFailed(let text): text
        }
    }
}

/// Counts refused connections by reason and logs them, at most one line per reason and second.
final class RefusalLog: Sendable {
    private let logger: Logger
    private let lines = LineBudget()

    init(logger: Logger) { self.logger = logger }

    func refused(_ refusal: RefusedConnection, remote: String) {
        Counter(label: "api.connections.refused", dimensions: [("reason", refusal.reason)]).increment()
        guard let suppressed = lines.admit(refusal.reason) else { return }
        logger.warning(
            "connection to the API port refused",
            metadata: [
                "reason": "\(refusal.reason)", "error": "\(refusal.message)", "remote": "\(remote)",
                "suppressed": "\(suppressed)",
            ])
    }
}
