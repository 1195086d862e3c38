import EsperTypes

/// What a node knows about leaders that may have gone and votes it is collecting.
struct ElectionState: Sendable {
    /// Numbers pre-vote rounds, from a random start.
    var round: UInt64
    /// When a voter that does not lead tries to.
    var deadline: Instant
    var votes = VoteTally()
    /// The last word of the leader of this term.
    var lastLeaderContact: Instant?
    /// The link to the leader was closed since its last word.
    var isLeaderLinkDown = false
    /// Short intervals left after a closed link.
    var hintRetries = 0
    /// Elections that a node that is set aside leaves to the others before it stands itself.
    var chancesLeft = 0
    /// The candidate's own vote counts once it is durable.
    var isOwnVotePending = false
    /// The longest that anybody who votes for this candidate made a leader count on.
    var holderWait = Duration.zero
    /// The leader whose order this candidate follows serves no reads by a lease any more.
    var isLeaseReleased = false
    /// A leader that has heard no quorum by then steps down.
    var quorumDeadline = Instant.distantFuture

    init(round: UInt64, deadline: Instant) {
        self.round = round
        self.deadline = deadline
    }
}

/// Elections: pre-vote and check-quorum always on (§5.2, dissertation §9.6 and §6.2).
extension RaftNode {
    var quorum: JointQuorum { log.configuration.configuration.quorum }

    var isVoter: Bool { log.configuration.configuration.isVoter(id) }

    var isOnlyVoter: Bool { log.configuration.configuration.voters == [id] }

    /// Whether there is a leader that deserves defending: it spoke within an election timeout, and its link is not closed.
    func isLeaderLive(at now: Instant) -> Bool {
        guard let leader else { return false }
        if leader == id { return true }
        guard let contact = election.lastLeaderContact, !election.isLeaderLinkDown else { return false }
        return now - contact < options.electionTimeout
    }

    mutating func resetElectionDeadline(at now: Instant) {
        election.deadline = now + generator.jittered(options.electionTimeout)
    }

    // MARK: Set aside

    /// Elections that a node that is set aside lets pass, voting for whoever stands. Each is an election timeout or up to two, and
    /// whoever else can win needs one, seldom two. After that it stands: perhaps it alone has all that is committed.
    static let chancesOfOthers = 4

    var isSetAside: Bool { setAside.contains(id) }

    mutating func setAside(_ nodes: [NodeID]) {
        setAside = nodes
        election.chancesLeft = Self.chancesOfOthers
    }

    // MARK: Trying to lead

    mutating func electionDeadlinePassed(at now: Instant, into effects: inout [Effect]) {
        guard mayCampaign, !isStorageStalled(at: now) else {
            resetElectionDeadline(at: now)
            return
        }
        if isSetAside, election.chancesLeft > 0, !isOnlyVoter {
            election.chancesLeft -= 1
            resetElectionDeadline(at: now)
            return
        }
        askForPreVotes(reason: election.isLeaderLinkDown ? .linkClosed : .timeout, at: now, into: &effects)
    }

    /// Asks whether an election could be won. Spends no term and writes nothing.
    private mutating func askForPreVotes(reason: RoleChange.Reason, at now: Instant, into effects: inout [Effect]) {
        let change = leader != nil || role != .preCandidate
        role = .preCandidate
        setLeader(nil)
        election.round &+= 1
        election.votes.removeAll()
        election.isOwnVotePending = false
        if election.hintRetries > 0 {
            // The others may notice their closed link a little later than we did.
            election.hintRetries -= 1
            let pause = options.linkHintLimit
            election.deadline = now + generator.between(pause, pause * 2)
        } else {
            resetElectionDeadline(at: now)
        }
        if change { announce(reason, into: &effects) }
        let request = PreVoteRequest(term: hardState.term.next, last: log.last, round: election.round)
        for voter in log.configuration.configuration.voters where voter != id {
            effects.append(.send(.preVoteRequest(request), to: voter, after: nil))
        }
        election.votes.record(id, true)
        countPreVotes(at: now, into: &effects)
    }

    /// Grants a pre-vote when a real vote could be granted and no live leader is known. Changes no state at all
    /// (granting must not count as hearing from a leader).
    mutating func preVoteRequested(
        _ request: PreVoteRequest, by candidate: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        let isPossible = quarantine == nil && request.term > hardState.term && request.last >= log.last
        let isGranted = isPossible && !isLeaderLive(at: now)
        let response = PreVoteResponse(term: hardState.term, isGranted: isGranted, round: request.round)
        effects.append(.send(.preVoteResponse(response), to: candidate, after: nil))
    }

    mutating func preVoteReceived(
        _ response: PreVoteResponse, from voter: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard role == .preCandidate, response.round == election.round else { return }
        if response.term > hardState.term {
            // A node that was away learns the term here, or it would be refused for ever.
            follow(nil, term: response.term, reason: .newerTerm, at: now, into: &effects)
            return
        }
        election.votes.record(voter, response.isGranted)
        countPreVotes(at: now, into: &effects)
    }

    private mutating func countPreVotes(at now: Instant, into effects: inout [Effect]) {
        switch election.votes.result(quorum) {
        case .won: campaign(isTransfer: false, at: now, into: &effects)
        case .lost: follow(nil, term: hardState.term, reason: .electionLost, at: now, into: &effects)
        case .pending: break
        }
    }

    /// Spends a term on an election. The requests leave after the own term, vote and log are durable: a candidate that
    /// crashed without that could campaign again in the same term with a shorter log, and a late grant for the longer
    /// one would count.
    mutating func campaign(isTransfer: Bool, at now: Instant, into effects: inout [Effect]) {
        precondition(role != .leader && mayCampaign, "a \(role) must not campaign")
        setHardState(term: hardState.term.next, vote: id)
        role = .candidate
        setLeader(nil)
        election.votes.removeAll()
        election.isOwnVotePending = true
        election.isLeaseReleased = false
        election.holderWait = options.holderLease
        if election.hintRetries > 0 {
            // A vote split among those who saw the link close; five to ten syncs are enough to know.
            election.deadline = now + generator.between(options.electionTimeout / 3, options.electionTimeout * 2 / 3)
        } else {
            resetElectionDeadline(at: now)
        }
        announce(isTransfer ? .transfer : .preVoteWon, into: &effects)
        let request = RequestVote(term: hardState.term, last: log.last, isTransfer: isTransfer)
        for voter in log.configuration.configuration.voters where voter != id {
            outbox.append((.requestVote(request), voter))
        }
    }

    /// Grants or refuses the one vote of a term (§5.2), to a log at least as complete as ours (§5.4.1).
    ///
    /// Whether we may vote is for the candidate's configuration to say: ours may be older. A live leader is
    /// defended by silence (dissertation §4.2.3), unless it asked for the election itself.
    mutating func voteRequested(
        _ request: RequestVote, by candidate: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard request.term >= hardState.term else {
            outbox.append(
                (.requestVoteResponse(RequestVoteResponse(term: hardState.term, isGranted: false)), candidate))
            return
        }
        guard request.isTransfer || !isLeaderLive(at: now) else { return }
        if request.term > hardState.term {
            follow(nil, term: request.term, reason: .newerTerm, at: now, into: &effects)
        }
        let isFree = quarantine == nil && (hardState.vote == nil || hardState.vote == candidate)
        let isUndecided = role == .follower || role == .preCandidate
        let isGranted = isFree && isUndecided && leader == nil && request.last >= log.last
        if isGranted {
            follow(nil, term: request.term, reason: .electionLost, at: now, into: &effects)
            if hardState.vote == nil { setHardState(term: hardState.term, vote: candidate) }
            resetElectionDeadline(at: now)
        }
        let response = RequestVoteResponse(
            term: hardState.term, isGranted: isGranted, holderWait: options.holderLease)
        outbox.append((.requestVoteResponse(response), candidate))
    }

    mutating func voteReceived(
        _ response: RequestVoteResponse, from voter: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        if response.term > hardState.term {
            follow(nil, term: response.term, reason: .newerTerm, at: now, into: &effects)
            return
        }
        guard role == .candidate, response.term == hardState.term else { return }
        election.votes.record(voter, response.isGranted)
        if response.isGranted { election.holderWait = max(election.holderWait, response.holderWait) }
        countVotes(at: now, into: &effects)
    }

    mutating func ownVotePersisted(at now: Instant, into effects: inout [Effect]) {
        guard role == .candidate, election.isOwnVotePending, isHardStateDurable else { return }
        election.isOwnVotePending = false
        election.votes.record(id, true)
        countVotes(at: now, into: &effects)
    }

    private mutating func countVotes(at now: Instant, into effects: inout [Effect]) {
        switch election.votes.result(quorum) {
        case .won: lead(at: now, into: &effects)
        case .lost: follow(nil, term: hardState.term, reason: .electionLost, at: now, into: &effects)
        case .pending: break
        }
    }

    // MARK: Changing role

    /// Follows `leader`, or nobody yet, in `term`.
    mutating func follow(
        _ newLeader: NodeID?, term: Term, reason: RoleChange.Reason, at now: Instant, into effects: inout [Effect]
    ) {
        precondition(term >= hardState.term, "term \(hardState.term) cannot become \(term)")
        let isNewTerm = term > hardState.term
        if !isNewTerm && role == .follower && leader == newLeader { return }
        if isNewTerm { setHardState(term: term, vote: nil) }
        if role == .leader {
            giveUpLeadership(at: now, into: &effects)
            resetElectionDeadline(at: now)
        }
        role = .follower
        election.votes.removeAll()
        election.isOwnVotePending = false
        following = FollowerState()
        setLeader(newLeader)
        announce(reason, into: &effects)
    }

    func announce(_ reason: RoleChange.Reason, into effects: inout [Effect]) {
        let change = RoleChange(role: role, term: hardState.term, leader: leader, reason: reason)
        effects.append(.roleChanged(change))
    }

    mutating func setLeader(_ newLeader: NodeID?) {
        guard newLeader != leader else { return }
        leader = newLeader
        forwardedReads.leaderChanged()
    }

    // MARK: Hints from the links

    /// A closed link to the leader pulls the election forward by rank; the pre-vote quorum must have lost it too, so one
    /// cut link changes nothing.
    mutating func linkDown(_ peer: NodeID, at now: Instant) {
        if !downLinks.contains(peer) { downLinks.append(peer) }
        if role == .leader {
            peerLinkDown(peer)
        } else if role == .follower, isOurLeader(peer), !election.isLeaderLinkDown {
            election.isLeaderLinkDown = true
            election.hintRetries = options.linkHintRetries
            election.deadline = min(election.deadline, now + linkHintSlot(without: peer))
        }
    }

    /// The leader, or whom we voted for and who may have won since.
    private func isOurLeader(_ peer: NodeID) -> Bool {
        peer == leader || (leader == nil && peer == hardState.vote)
    }

    mutating func linkUp(_ peer: NodeID) {
        downLinks.removeAll { $0 == peer }
        if role == .leader { peerLinkUp(peer) }
    }

    /// Slots are apart, so that usually the first is elected before the second asks.
    private func linkHintSlot(without lost: NodeID) -> Duration {
        let others = log.configuration.configuration.voters.filter { $0 != lost }
        let rank = others.firstIndex(of: id) ?? others.count
        return min(options.linkHintLimit, options.linkHintDelay + options.linkHintStagger * rank)
    }
}
