import Coordination
import EsperTypes
import Logging
import PeerTransport
import RaftCore

// A node that an operator drains: it follows and votes, but leads only while nobody else can, and is not ready. Its peers know,
// and hand leadership to it only when there is nobody else.
extension NodeCore {
    func setAside(_ isSetAside: Bool, _ name: String, _ caller: Caller, by principal: String) {
        guard let target = members.first(where: { $0.name == name }) else {
            let known = members.map(\.name).joined(separator: ", ")
            return fail(caller, .unknownMember, "there is no member '\(name)'; members are \(known)", .notCommitted)
        }
        recordAdministration(isSetAside ? "node.drained" : "node.undrained", [.init("node", name)], by: principal)
        guard target.id == id else { return ask(target.id, .setAside(isSetAside), caller) }
        setAside(isSetAside, for: .caller(caller))
    }

    /// Answers at once, or when another node leads.
    func setAside(_ isSetAside: Bool, for asker: PendingTransfer.Asker) {
        if isSetAside != self.isSetAside {
            logger.notice(isSetAside ? "drained by an operator" : "drained no more")
        }
        self.isSetAside = isSetAside
        if !isSetAside { endDrains() }
        for member in members where member.id != id {
            transport.send(.ask(0, PeerQuestion.standsAside(isSetAside).encoded()), to: member.id)
        }
        tellCoreWhoStandsAside()
        noteReadiness()
        guard isSetAside, role == .leader else {
            switch asker {
            case .caller(let caller): reply(caller, .done)
            case .peer(let peer, let token): answer(.done, token, peer)
            }
            return scheduleTurn()
        }
        // A node that is the only voter has nobody to wait for.
        let isDrain = raft.status.configuration.voters.count > 1
        transfers.append(PendingTransfer(asker: asker, target: nil, since: term, isDrain: isDrain))
        step(.transferLeadership(to: nil))
    }

    /// What a peer says of itself.
    func noteStanding(of peer: NodeID, _ isSetAside: Bool) {
        let isChange = isSetAside ? peersSetAside.insert(peer).inserted : peersSetAside.remove(peer) != nil
        if isChange { tellCoreWhoStandsAside() }
    }

    private func tellCoreWhoStandsAside() {
        step(.setAside(((isSetAside ? [id] : []) + peersSetAside).sorted()))
    }

    /// Elected all the same, or left without a successor at first: hands over as soon as somebody can take it.
    func standBack() {
        guard isSetAside, role == .leader, raft.status.transferTarget == nil, raft.status.configuration.voters.count > 1
        else { return }
        step(.transferLeadership(to: nil))
    }
}
