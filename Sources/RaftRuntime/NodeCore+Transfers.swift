import Coordination
import EsperTypes
import RaftCore

// Planned hand-overs of leadership: asked of any node, done by the leader, answered when another one leads.
extension NodeCore {
    func transferLeadership(toMember name: String?, _ caller: Caller, by principal: String) {
        guard let name else { return transferLeadership(to: nil, caller, by: principal) }
        guard let target = members.first(where: { $0.name == name }) else {
            let known = members.map(\.name).joined(separator: ", ")
            return fail(caller, .transferFailed, "there is no member '\(name)'; members are \(known)", .notCommitted)
        }
        transferLeadership(to: target.id, caller, by: principal)
    }

    private func transferLeadership(to target: NodeID?, _ caller: Caller, by principal: String) {
        if let target, target == leader { return replyTransferred(caller) }
        recordAdministration(
            "leadership.transfer", [.init("to", target.flatMap { member($0)?.name } ?? "any")], by: principal)
        guard role == .leader else { return askLeader(.transferLeadership(to: target), caller) }
        transfers.append(PendingTransfer(asker: .caller(caller), target: target, since: term))
        step(.transferLeadership(to: target))
    }

    /// Answers those whose hand-over is done: this node follows, or another leader of a later term is known.
    func settleTransfers() {
        transfers.removeAll { transfer in
            switch transfer.asker {
            case .peer(let peer, let token):
                guard role != .leader || term > transfer.since else { return false }
                answer(.done, token, peer)
            case .caller(let caller):
                guard leader != nil, term > transfer.since || leader == transfer.target else { return false }
                replyTransferred(caller)
            }
            return true
        }
    }

    /// The core gave up: the leader goes on leading.
    func transfersFailed(_ failure: TransferFailure) {
        // The one that is under way already goes on; the newest came too late.
        let concerned = failure == .busy ? transfers.suffix(1) : transfers[...]
        transfers.removeLast(concerned.count)
        for transfer in concerned {
            // As long as it leads, ``standBack()`` tries again.
            if transfer.isDrain, failure != .notLeader { transfers.append(transfer) } else { fail(transfer, failure) }
        }
    }

    /// The drain was undone before anybody took over: those who wait for that wait no more.
    func endDrains() {
        let ended = transfers.filter(\.isDrain)
        transfers.removeAll(where: \.isDrain)
        for transfer in ended { fail(transfer, .noTarget) }
    }

    private func fail(_ transfer: PendingTransfer, _ failure: TransferFailure) {
        switch transfer.asker {
        case .peer(let peer, let token): answer(.transferFailed(failure), token, peer)
        case .caller(let caller): failTransfer(caller, failure)
        }
    }

    func failTransfer(_ caller: Caller, _ failure: TransferFailure) {
        let reason =
            switch failure {
            case .notLeader: "leadership was lost meanwhile; ask again"
            case .busy: "another hand-over is under way; try again"
            case .noTarget: "no such voter is connected and near enough to the leader's log"
            case .timedOut: "the other node did not take over in time; this one leads on"
            }
        fail(caller, .transferFailed, "leadership was not handed over: \(reason)", .notCommitted)
    }

    /// - Returns: when the next one's time is over.
    func expireTransfers(_ now: Instant) -> Instant {
        var next = Instant.distantFuture
        transfers.removeAll { transfer in
            guard case .caller(let caller) = transfer.asker else { return false }
            guard caller.deadline <= now else {
                next = min(next, caller.deadline)
                return false
            }
            fail(caller, .timedOut, "whether leadership was handed over could not be confirmed in time", .unknown)
            return true
        }
        return next
    }

    private func replyTransferred(_ caller: Caller) {
        reply(caller, .transferred(leader: leader.flatMap { member($0)?.name } ?? "", term: term))
    }
}
