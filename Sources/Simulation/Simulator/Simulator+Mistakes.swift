import Coordination
import EsperTypes
import RaftCore

/// Mistakes made on purpose that are more than another message: what a broken node would do. See ``Mutant``.
extension Simulator {
    /// What a broken core would do with a request that it should treat with more care.
    ///
    /// - Returns: whether the request has been dealt with.
    func mistakes(_ request: ConfigurationRequest, of node: Node, _ now: Instant) -> Bool {
        guard let mutant, node.raft.currentRole == .leader, case .change(let changes, _) = request else { return false }
        let status = node.raft.status
        let current = status.configuration
        guard !current.isJoint else { return false }
        let isOwnTermCommitted = node.raft.entry(at: status.commit)?.term == status.term
        var next: Configuration?
        switch mutant {
        case .switchesWithoutJoint:
            guard !status.isConfigurationPending, isOwnTermCommitted else { return false }
            next = (try? Changer(current).enterJoint(autoLeave: true, changes)).flatMap {
                try? Changer($0).leaveJoint()
            }
        case .stacksChanges:
            if status.isConfigurationPending { next = try? Changer(current).simple(changes) }
        case .changesBeforeOwnTerm:
            if !status.isConfigurationPending, !isOwnTermCommitted { next = try? Changer(current).simple(changes) }
        case .addsNodesNeverStarted:
            guard !status.isConfigurationPending, isOwnTermCommitted else { return false }
            let ghosts = current.incoming.indices.map { ConfigurationChange.addVoter(NodeID(UInt64(1000 + $0))) }
            next = try? Changer(current).enterJoint(autoLeave: true, ghosts)
        default: break
        }
        guard let next, next.isValid, next != current else { return false }
        node.raft.appendConfiguration(next, at: now, into: &effects)
        return true
    }

    /// What a broken leader would append without being asked.
    func mistakes(after node: Node, _ now: Instant) throws(SimulationFailure) {
        mistakesOfLeases(node, now)
        if mutant == .ordersBeforeLevel { try orderCampaign(of: node) }
        guard mutant == .leavesJointEarly, node.raft.currentRole == .leader, node.raft.configuration.autoLeave,
            node.raft.configurationIndex > node.raft.commitIndex,
            let left = try? Changer(node.raft.configuration).leaveJoint()
        else { return }
        node.raft.appendConfiguration(left, at: now, into: &effects)
    }

    /// Whoever is to lead next is told at once.
    private func orderCampaign(of node: Node) throws(SimulationFailure) {
        let status = node.raft.status
        guard let target = status.transferTarget,
            status.peers.contains(where: { $0.id == target && $0.match < status.last.index })
        else { return }
        try send(.timeoutNow(TimeoutNow(term: status.term, last: .zero)), from: node, to: target)
    }

    // MARK: Messages

    func forged(_ message: Message, from node: Node, to peer: Node) -> Message? {
        guard let mutant else { return message }
        if mutant == .grantsDefendLeaders, case .preVoteResponse(let response) = message, response.isGranted {
            node.preVoteGivenAt = clock.now
        }
        return mutant.forges(message, from: node, to: peer)
    }

    func mistaken(_ message: Message, at node: Node) throws(SimulationFailure) -> Message? {
        guard let mutant else { return message }
        if mutant == .oldAppendsTruncate, case .appendEntries(let append) = message {
            try cutOff(after: append, at: node)
        }
        if mutant == .lateGrantsCount, case .preVoteResponse(var response) = message {
            response.round = oracles.candidacies.round(of: node.index)
            return .preVoteResponse(response)
        }
        if mutant == .grantsDefendLeaders, case .requestVote(let request) = message, !request.isTransfer,
            let given = node.preVoteGivenAt, clock.now - given < UInt64(plan.raft.electionTimeout.nanoseconds)
        {
            return nil
        }
        return mutant.receives(message, at: node)
    }

    /// Whether the node answers an append behind a gap in its log without noticing who sent it.
    func passesOver(_ event: Event, at node: Node) throws(SimulationFailure) -> Bool {
        guard mutant == .gapsAreNoWord, case .received(.appendEntries(let append), let leader) = event,
            node.raft.follows(leader, in: append.term), append.previous.index > node.raft.status.last.index
        else { return false }
        let response = AppendEntriesResponse(
            term: append.term, session: append.session, readSequence: append.readSequence,
            outcome: .conflict(previous: append.previous, hint: node.raft.status.last))
        try send(.appendEntriesResponse(response), from: node, to: leader)
        return true
    }

    /// A log that goes on after an append that it has is cut off there, in memory and on disk.
    private func cutOff(after append: AppendEntries, at node: Node) throws(SimulationFailure) {
        guard node.raft.currentRole == .follower, append.term == node.raft.currentTerm,
            let end = append.entries.last?.id,
            node.raft.entry(at: end.index)?.id == end, end.index < node.disk.image.last.index,
            end.index >= node.disk.image.snapshot?.index ?? .zero
        else { return }
        _ = try powerOff(node)
        node.disk.forgetTail(node.disk.image.last.index.distance(from: end.index))
        try restart(node)
    }

    /// Nodes that were members once ask everybody for votes, in a term above the leader's.
    func removedNodesCampaign(against leader: Node) throws(SimulationFailure) {
        for node in nodes where node.isUp && !leader.raft.configuration.contains(node.id) {
            guard let last = node.disk.image.entries.last?.id else { continue }
            let request = RequestVote(term: leader.raft.currentTerm.next, last: last, isTransfer: true)
            for voter in leader.raft.configuration.voters { try send(.requestVote(request), from: node, to: voter) }
        }
    }

    // MARK: Applying

    /// The entry as this node applies it.
    func mistaken(_ entry: Entry, at node: Node) -> Entry {
        guard mutant == .appliesByOwnClock, entry.isCommand else { return entry }
        var entry = entry
        _ = Envelope.stamp(node.clock.wall(clock.now), into: &entry.payload)
        return entry
    }

    func answerEarly(_ tokens: [UInt64], _ node: Node) {
        for token in tokens {
            guard let request = node.writes[token], case .write = request.command else { continue }
            node.writes[token] = nil
            reply(to: request, .command(.put(PutReply()), isDuplicate: false))
        }
    }

    /// The leader that takes a node's proposals of expiries: the node itself, if it leads.
    func whoExpires(for node: Node) -> Node? {
        if node.seen.role == .leader { return node }
        guard mutant == .deposedLeaderExpires, node.hasLed else { return nil }
        return currentLeader.map { nodes[$0] }
    }

    // MARK: Reads

    /// Whether a broken node answers reads from what it has, without asking anybody.
    func servesAtOnce(_ command: ClientCommand, _ node: Node) -> Bool {
        guard let mutant else { return false }
        let leads = node.raft.currentRole == .leader
        if case .keepAlive = command { return mutant == .deposedLeaderRenews }
        switch mutant {
        case .readsAnywhere: return true
        case .readsWithoutRound: return leads
        case .readsOnceRestarted:
            let start = node.disk.image.snapshot?.index ?? .zero
            return !leads && node.life > 0 && node.seen.commit > start && node.replica.applied >= node.seen.commit
        case .readsBeforeOwnTerm:
            return leads && node.raft.entry(at: node.raft.commitIndex)?.term != node.raft.currentTerm
        default: return false
        }
    }
}
