import Coordination
import EsperTypes
import PeerTransport

// Faults on purpose, for development.
extension NodeCore {
    /// Cuts this node off from the peers of these names and from no others; without names from all.
    ///
    /// Nothing changes when one of the names is no peer's.
    func isolate(fromPeers names: [String], _ caller: Caller, by principal: String) {
        let peers = members.filter { $0.id != id }
        var blocked: Set<NodeID> = []
        for name in names {
            guard let peer = peers.first(where: { $0.name == name }) else {
                let known = peers.isEmpty ? "nobody" : peers.map(\.name).joined(separator: ", ")
                return fail(
                    caller, .unknownMember, "'\(name)' is no peer of \(self.name), which has \(known)", .notCommitted)
            }
            blocked.insert(peer.id)
        }
        let cut = names.isEmpty ? peers.map(\.name) : names
        cutOff(fromAll: names.isEmpty, blocked)
        recordAdministration(
            "node.isolated", [.init("node", name), .init("peers", cut.joined(separator: ","))], by: principal)
        reply(caller, .done)
    }

    func heal(_ caller: Caller, by principal: String) {
        cutOff(fromAll: false, [])
        recordAdministration("node.healed", [.init("node", name)], by: principal)
        reply(caller, .done)
    }

    private func cutOff(fromAll isIsolated: Bool, _ blocked: Set<NodeID>) {
        self.isIsolated = isIsolated
        transport.block(blocked)
        transport.isolate(isIsolated)
        noteReadiness()
    }
}
