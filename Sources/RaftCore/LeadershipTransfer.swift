import EsperTypes

/// A hand-over of leadership that is under way (dissertation §3.10).
struct LeadershipTransfer: Sendable {
    let target: NodeID
    let term: Term
    /// The leader gives up waiting and goes on leading.
    let deadline: Instant
    /// Somebody asked for it, and is told when it fails.
    let isRequested: Bool
    var orderedAt: Instant?
}

/// Handing over: admit nothing new, bring the target level, tell it to campaign, give up after an election timeout.
extension RaftNode {
    mutating func transferRequested(to target: NodeID?, at now: Instant, into effects: inout [Effect]) {
        guard role == .leader else {
            effects.append(.transferFailed(to: target, .notLeader))
            return
        }
        guard transfer == nil else {
            effects.append(.transferFailed(to: target, .busy))
            return
        }
        let chosen = target ?? bestSuccessor(at: now)
        guard let chosen, chosen != id, log.configuration.configuration.incoming.contains(chosen) else {
            effects.append(.transferFailed(to: target, .noTarget))
            return
        }
        beginTransfer(to: chosen, isRequested: true, at: now)
    }

    mutating func beginTransfer(to target: NodeID, isRequested: Bool, at now: Instant) {
        transfer = LeadershipTransfer(
            target: target, term: hardState.term, deadline: now + options.electionTimeout, isRequested: isRequested)
    }

    /// The voter that stays, answers and has most of the log; among equals the lowest. One that is set aside only when there is
    /// no other, and never from one that is set aside itself: they would pass it back and forth.
    func bestSuccessor(at now: Instant) -> NodeID? {
        bestSuccessor(at: now) { !setAside.contains($0) } ?? (isSetAside ? nil : bestSuccessor(at: now) { _ in true })
    }

    private func bestSuccessor(at now: Instant, where isEligible: (NodeID) -> Bool) -> NodeID? {
        var best: Progress?
        for peer in peers where log.configuration.configuration.incoming.contains(peer.id) {
            guard isEligible(peer.id), isHeard(peer.id, at: now) else { continue }
            if peer.match > best?.match ?? .zero { best = peer }
        }
        return best?.id
    }

    /// Orders the campaign as soon as the target has everything, and again with each heartbeat interval.
    mutating func advanceTransfer(at now: Instant, into effects: inout [Effect]) {
        guard let transfer, let position = peerIndex(transfer.target) else { return }
        guard peers[position].match == log.last.index else { return }
        if let orderedAt = transfer.orderedAt, now - orderedAt < options.heartbeatInterval { return }
        self.transfer?.orderedAt = now
        // Having committed in this term, it has waited for the leases of all before.
        lease.isForsaken = true
        let order = TimeoutNow(term: hardState.term, last: log.last, isLeaseReleased: commit >= termStart)
        effects.append(.send(.timeoutNow(order), to: transfer.target, after: nil))
    }

    mutating func expireTransfer(at now: Instant, into effects: inout [Effect]) {
        guard let transfer, now >= transfer.deadline else { return }
        self.transfer = nil
        if transfer.isRequested { effects.append(.transferFailed(to: transfer.target, .timedOut)) }
        guard log.configuration.index <= commit, !isVoter else { return }
        // Its removal is committed, and the successor did not answer: the others will notice the silence.
        follow(nil, term: hardState.term, reason: .notVoter, at: now, into: &effects)
    }

    /// Campaigns for the leader that asks for it, without a pre-vote, once everything it had is durable here.
    mutating func timeoutNowReceived(
        _ order: TimeoutNow, from sender: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard
            order.term == hardState.term, role == .follower, leader == sender, isVoter, mayCampaign,
            log.last >= order.last, log.durable >= order.last.index, !isStorageStalled(at: now)
        else { return }
        campaign(isTransfer: true, at: now, into: &effects)
        election.isLeaseReleased = order.isLeaseReleased
    }
}
