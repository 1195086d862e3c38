public import EsperTypes
import NIOCore

/// Fault injection for development: a partition as the network would make it, silent and in both directions.
///
/// Links stay open and nobody is told. Frames to and from a cut-off peer vanish, new links to it are neither made nor
/// accepted. Used by `esper dev partition`; a production node never calls it.
extension PeerTransport {
    /// Cuts this node off from every peer, or joins it again.
    public func isolate(_ isIsolated: Bool) {
        eventLoop.preconditionInEventLoop()
        self.isIsolated = isIsolated
        redial()
    }

    /// Cuts this node off from exactly these peers, those that become members later included.
    public func block(_ blocked: Set<NodeID>) {
        eventLoop.preconditionInEventLoop()
        self.blocked = blocked
        for peer in peers { peer.isBlocked = blocked.contains(peer.member.id) }
        redial()
    }

    /// Whether frames pass between us and the peer.
    func mayHear(_ peer: Peer) -> Bool { !isIsolated && !peer.isBlocked }

    private func redial() {
        for peer in peers where mayHear(peer) { dial(peer) }
    }
}
