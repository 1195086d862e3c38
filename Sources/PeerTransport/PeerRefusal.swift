import EsperTypes
import Identity

/// Why a connection did not become a link.
enum PeerRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The other end's certificate is no good; the judgement is Identity's.
    case certificate(CertificateRefusal)
    /// The bytes are no TLS 1.3, or the other end gave up the TLS handshake, as it does when it refuses our certificate.
    case tls(String)
    case protocolViolation(FrameError)
    /// Both handshakes took longer than their deadline.
    case deadline
    /// Closed to make room for a newer one: ``PeerOptions/maximumUnauthenticated``.
    case flood
    /// The other end closed the connection before the handshake was over.
    case abandoned
    /// What we answered to a hello.
    case handshake(HandshakeRefusal, detail: String)
    /// What the other end answered to ours.
    case byPeer(HandshakeRefusal)
    /// Fault injection.
    case partitioned

    /// One word from a small fixed set, for metrics.
    var reason: String {
        switch self {
        case .certificate(let refusal): refusal.reason
        case .tls: "tls"
        case .protocolViolation: "protocol_violation"
        case .deadline: "deadline"
        case .flood: "flood"
        case .abandoned: "abandoned"
        case .handshake(let refusal, _): refusal.reason
        case .byPeer: "by_peer"
        case .partitioned: "partitioned"
        }
    }

    var description: String {
        switch self {
        case .certificate(let refusal): "certificate: \(refusal)"
        case .tls(let cause): "TLS handshake failed: \(cause)"
        case .protocolViolation(let error): "\(error)"
        case .deadline: "the handshake took too long"
        case .flood: "too many connections in their handshake"
        case .abandoned: "closed before the handshake was over"
        case .handshake(let refusal, let detail): "\(refusal): \(detail)"
        case .byPeer(let refusal): "the peer refuses us: \(refusal)"
        case .partitioned: "partitioned by fault injection"
        }
    }
}

extension HandshakeRefusal {
    var reason: String {
        switch self {
        case .version: "version"
        case .cluster: "cluster"
        case .notANode: "not_a_node"
        case .unknownName: "unknown_name"
        case .wrongNode: "wrong_node"
        case .misaddressed: "misaddressed"
        case .incarnation: "incarnation"
        case .direction: "direction"
        case .removed: "removed"
        }
    }
}
