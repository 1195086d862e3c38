import EsperTypes

/// A change that this leader has begun for somebody.
struct PendingChange: Sendable {
    let token: UInt64
    /// The entry whose commit ends it, or allows the step that does.
    var index: LogIndex
}

/// Changing the configuration while serving (dissertation §4).
///
///     C ──request──▶ C (learners changed)                        one entry
///     C ──request──▶ C&&C' ──committed──▶ C' ──committed──▶ done   two, when voters change
///
/// A configuration is in force from its append (§4.1). The next step is taken only when the one before is committed,
/// together with an entry of the leader's own term (Ongaro on raft-dev, 2015): so there are never two steps whose quorums could miss
/// each other. Whoever leads finishes a joint configuration that leaves by itself.
extension RaftNode {
    mutating func configurationChangeRequested(
        _ token: UInt64, _ request: ConfigurationRequest, at now: Instant, into effects: inout [Effect]
    ) {
        do throws(ConfigurationRefusal) {
            let next = try configuration(after: request, at: now)
            let id = EntryID(term: hardState.term, index: log.last.index.next)
            effects.append(.configurationChange(token: token, .accepted(id)))
            appendConfiguration(next, at: now, into: &effects)
            change = PendingChange(token: token, index: id.index)
        } catch {
            effects.append(.configurationChange(token: token, .refused(error)))
        }
    }

    private func configuration(
        after request: ConfigurationRequest, at now: Instant
    ) throws(ConfigurationRefusal) -> Configuration {
        guard role == .leader else { throw .notLeader(hint: leader) }
        if isDriverStalled || lastStallAttempt != nil { throw .storageStalled }
        if transfer != nil { throw .transferring }
        if isPaused { throw .paused }
        guard commit >= termStart else { throw .termNotCommitted }
        guard log.configuration.index <= commit else { throw .changePending(log.configuration.index) }
        if isStorageFull { throw .storageFull }
        let current = log.configuration.configuration
        switch request {
        case .leaveJoint:
            guard let left = try? Changer(current).leaveJoint() else { throw .notJoint }
            return left
        case .change(let changes, let autoLeave):
            let next = try current.after(changes, autoLeave: autoLeave)
            try checkReadiness(for: next, instead: current, at: now)
            return next
        }
    }

    /// Steps that wait for a commit: leaving joint consensus, reporting, and making way for others.
    mutating func advanceConfiguration(at now: Instant, into effects: inout [Effect]) {
        guard isConfigurationOpen, log.configuration.index <= commit else { return }
        let current = log.configuration.configuration
        if current.autoLeave {
            // A transfer under way waits for an end of the log that stands still; whoever leads then leaves.
            guard commit >= termStart, transfer == nil, let left = try? Changer(current).leaveJoint() else { return }
            appendConfiguration(left, at: now, into: &effects)
            change?.index = log.last.index
            return
        }
        if let change {
            self.change = nil
            effects.append(
                .configurationChange(token: change.token, .done(current, at: log.configuration.index)))
        }
        if isVoter { isConfigurationOpen = false } else { makeWay(at: now, into: &effects) }
    }

    /// A leader whose own removal is committed orders the best prepared voter to take over (§4.2.2), and steps down.
    private mutating func makeWay(at now: Instant, into effects: inout [Effect]) {
        if let transfer {
            if log.configuration.configuration.isVoter(transfer.target) { return }
            if transfer.isRequested { effects.append(.transferFailed(to: transfer.target, .noTarget)) }
        }
        transfer = nil
        if let successor = bestSuccessor(at: now) {
            beginTransfer(to: successor, isRequested: false, at: now)
        } else {
            follow(nil, term: hardState.term, reason: .notVoter, at: now, into: &effects)
        }
    }

    // MARK: Who is ready

    /// Whether the node has answered this leader within an election timeout.
    func isHeard(_ node: NodeID, at now: Instant) -> Bool {
        if node == id { return true }
        guard let peer = peers.first(where: { $0.id == node }) else { return false }
        return peer.hasAnswered && !peer.isLinkDown && now - peer.lastContact < options.electionTimeout
    }

    func isCaughtUp(_ peer: Progress) -> Bool {
        peer.state == .replicate && log.last.index.distance(from: peer.match) <= options.maximumPromotionLag
    }

    /// Refuses what would leave the cluster waiting for nodes that are behind or not there (§4.2.1): new voters have
    /// caught up, and of each majority enough nodes have been heard.
    private func checkReadiness(
        for next: Configuration, instead current: Configuration, at now: Instant
    ) throws(ConfigurationRefusal) {
        for voter in next.incoming where !current.isVoter(voter) {
            guard isHeard(voter, at: now) else { throw .notHeard(voter) }
            guard let position = peerIndex(voter), isCaughtUp(peers[position]) else { throw .notCaughtUp(voter) }
        }
        for half in [next.quorum.incoming, next.quorum.outgoing] {
            let silent = half.voters.filter { !isHeard($0, at: now) }
            if half.voters.count - silent.count < half.size { throw .quorumNotHeard(silent) }
        }
    }

    // MARK: Who may try to lead

    /// Whether this node may campaign: the configuration in force gives it a vote, or one that may still be the last
    /// committed one does. Without the second, a leader that had appended its own removal could hold the longest log that
    /// a quorum needs, and neither lead nor vote for anybody (dissertation §4.2.2).
    var mayCampaign: Bool {
        guard quarantine == nil, !isExcluded else { return false }
        var position = log.configurations.count
        while position > 0 {
            position -= 1
            if log.configurations[position].configuration.isVoter(id) { return true }
            if log.configurations[position].index <= commit { return false }
        }
        return false
    }

    /// Whether this node is, as far as it knows for certain, no member: not yet, or not any more.
    var isOutside: Bool {
        log.configuration.index <= commit && !log.configuration.configuration.contains(id)
    }
}

extension Configuration {
    /// What the changes lead to next: the final configuration when no voter changes, else the joint one.
    fileprivate func after(
        _ changes: [ConfigurationChange], autoLeave: Bool
    ) throws(ConfigurationRefusal) -> Configuration {
        if isJoint { throw .joint }
        try check(changes)
        let changer = Changer(self)
        guard var next = try? changer.enterJoint(autoLeave: autoLeave, changes) else { throw .noVoters }
        if next.incoming == incoming, let single = try? changer.simple(changes) { next = single }
        if next == self { throw .unchanged }
        if next.members.count > Self.maximumMembers { throw .tooManyMembers }
        return next
    }

    /// Each change makes sense by itself, and each node is in one of them only.
    private func check(_ changes: [ConfigurationChange]) throws(ConfigurationRefusal) {
        var seen: [NodeID] = []
        for change in changes {
            for node in change.nodes {
                if seen.contains(node) { throw .repeated(node) }
                seen.append(node)
            }
            switch change {
            case .addLearner(let node): if isVoter(node) { throw .alreadyVoter(node) }
            case .addVoter(let node): if !isVoter(node), !isLearner(node) { throw .notLearner(node) }
            case .demote(let node): if !isVoter(node) { throw .notVoter(node) }
            case .remove(let node): if !contains(node) { throw .notMember(node) }
            case .replace(let old, let new):
                if !isVoter(old) { throw .notVoter(old) }
                if isVoter(new) { throw .alreadyVoter(new) }
                if !isLearner(new) { throw .notLearner(new) }
            }
        }
    }
}

extension ConfigurationChange {
    fileprivate var nodes: [NodeID] {
        switch self {
        case .addLearner(let node), .addVoter(let node), .demote(let node), .remove(let node): [node]
        case .replace(let old, let new): [old, new]
        }
    }
}
