import Coordination
import EsperTypes
import Logging
import RaftCore

// A node that an operator drains: it follows and votes, but leads only while nobody else can, and is not ready.
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
        noteReadiness()
        guard isSetAside, role == .leader else {
            switch asker {
            case .caller(let caller): reply(caller, .done)
            case .peer(let peer, let token): answer(.done, token, peer)
            }
            return scheduleTurn()
        }
        transfers.append(PendingTransfer(asker: asker, target: nil, since: term))
        step(.transferLeadership(to: nil))
    }

    /// Elected all the same, or left without a successor at first: hands over as soon as somebody can take it.
    func standBack() {
        guard isSetAside, role == .leader, raft.status.transferTarget == nil, raft.status.configuration.voters.count > 1
        else { return }
        step(.transferLeadership(to: nil))
    }
}
