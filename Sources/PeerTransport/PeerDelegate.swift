public import EsperTypes

/// Who receives what the links deliver; called on the event loop of the transport and on no other thread.
///
/// No method is called from within a call to ``PeerTransport``: events that arise there come in a later turn of the loop.
public protocol PeerDelegate: AnyObject {
    /// Everything one read brought, in the order of sending. Per link (main or bulk) nothing is reordered or repeated;
    /// frames may be missing only where the sender was told or a link went down in between.
    func received(_ frames: [PeerFrame], from peer: NodeID)

    /// The main link stands: certificate, cluster, node and incarnation of the other end were checked.
    func linkUp(_ peer: NodeID)

    /// The main link is gone. Follows its ``linkUp(_:)`` exactly once and at once: in the turn of the loop that saw the end.
    func linkDown(_ peer: NodeID, reason: LinkDownReason)

    /// The peer says that this node is no member, and that waiting will not change that. Told at every attempt.
    func excluded(by peer: NodeID, _ exclusion: Exclusion)
}

/// Why a node's identity is of no use any more.
public enum Exclusion: Hashable, Sendable {
    /// It was taken out of the cluster.
    case removed
    /// The member of this identity has another disk: this one's was lost, and with it what others count on.
    case otherDisk
}

/// Why a link ended.
public enum LinkDownReason: Hashable, Sendable, CustomStringConvertible {
    /// The other end closed it, orderly or by dying.
    case closed
    /// The network or TLS failed.
    case failed(String)
    /// The other end sent what no peer of ours sends.
    case protocolViolation(String)
    /// The other end made a new link, so this one is dead whatever our kernel believes.
    case replaced
    /// The peer is no member any more, or its name or address changed.
    case removed
    /// The peer will not speak to us, and says why.
    case refused(String)
    /// We are stopping.
    case stopped

    public var description: String {
        switch self {
        case .closed: "closed by the other end"
        case .failed(let cause): "failed: \(cause)"
        case .protocolViolation(let cause): "protocol violation: \(cause)"
        case .replaced: "replaced by a new link"
        case .removed: "no member any more"
        case .refused(let cause): "the peer refuses us: \(cause)"
        case .stopped: "stopped"
        }
    }
}
