package import EsperTypes

/// Beginning and ending leadership, and the duties of a leader towards its quorum.
extension RaftNode {
    /// Begins to lead: a no-op opens the term, because only an entry of its own term may be committed by counting (§5.4.2).
    mutating func lead(at now: Instant, into effects: inout [Effect]) {
        precondition(role == .candidate && hardState.vote == id, "a \(role) with \(hardState) cannot lead")
        role = .leader
        setLeader(id)
        election.votes.removeAll()
        election.hintRetries = 0
        election.isLeaderLinkDown = false
        election.quorumDeadline = now + options.electionTimeout
        following = FollowerState()
        inbound = nil
        reads = ReadIndex()
        lease = ReadLease()
        commitsFrom = firstCommit(at: now)
        beginRoster(at: now)
        transfer = nil
        lastStallAttempt = nil
        peers.removeAll(keepingCapacity: true)
        reconcilePeers(next: log.last.index.next, at: now)
        isConfigurationOpen = true
        uncommittedBytes = log.payloadBytes(from: max(commit, log.base.index).next, through: log.last.index)
        termStart = log.last.index.next
        log.append(Entry(id: EntryID(term: hardState.term, index: termStart), kind: .noop))
        announce(.electionWon, into: &effects)
        // Reads that waited for a leader have found one.
        for tokens in forwardedReads.takeAll() { reads.wait(tokens) }
    }

    mutating func giveUpLeadership(at now: Instant, into effects: inout [Effect]) {
        peers.removeAll(keepingCapacity: true)
        isConfigurationOpen = false
        if let change {
            self.change = nil
            effects.append(.configurationChange(token: change.token, .unknown))
        }
        uncommittedBytes = 0
        election.quorumDeadline = .distantFuture
        if let transfer {
            self.transfer = nil
            if transfer.isRequested && hardState.term == transfer.term {
                effects.append(.transferFailed(to: transfer.target, .notLeader))
            }
        }
        // Local reads look for the next leader; other nodes are told, and do the same.
        for waiter in reads.takeAll() {
            switch waiter {
            case .local(let tokens): forwardedReads.add(tokens, at: now)
            case .remote(let node, let number):
                let refusal = ReadIndexResponse(term: hardState.term, number: number, index: nil)
                effects.append(.send(.readIndexResponse(refusal), to: node, after: nil))
            }
        }
    }

    /// Makes the list of peers that of the active configuration, and of those that it has just left out: they hear
    /// for a moment longer, so that they learn of it.
    mutating func reconcilePeers(next: LogIndex, at now: Instant) {
        let members = log.configuration.configuration.members.filter { $0 != id }
        // One that comes back begins anew: what it said before counts for nothing.
        peers.removeAll {
            $0.state == .snapshot && !members.contains($0.id) || $0.isDeparting && members.contains($0.id)
        }
        for position in peers.indices where !members.contains(peers[position].id) {
            peers[position].departsAt = peers[position].departsAt ?? now + options.electionTimeout * 2
        }
        for member in members where !peers.contains(where: { $0.id == member }) {
            var peer = Progress(id: member, next: next, session: newSession(), at: now)
            peer.isLinkDown = downLinks.contains(member)
            peers.append(peer)
        }
        peers.sort { $0.id < $1.id }
    }

    mutating func newSession() -> SessionNonce {
        lastSession = lastSession.next
        return lastSession
    }

    func peerIndex(_ peer: NodeID) -> Int? {
        for position in peers.indices where peers[position].id == peer { return position }
        return nil
    }

    // MARK: The quorum's word

    /// Commits what a quorum has on disk, if it is of this term (§5.3, §5.4.2).
    ///
    /// The leader counts itself only as far as its own disk is; its followers may be ahead (dissertation §10.2.1).
    mutating func advanceCommit(at now: Instant) {
        guard now >= commitsFrom else { return }
        // Only what the question needs is captured: this runs every turn, and a copy of the node is not free.
        let agreed = quorum.reached { [id, peers, durable = log.durable] node in
            node == id ? durable : peers.first { $0.id == node }?.match ?? .zero
        }
        guard let agreed, agreed > commit, log.term(at: agreed) == hardState.term else { return }
        let allowed = allowedByHolders(agreed, at: now)
        guard allowed > commit, allowed >= termStart else { return }
        uncommittedBytes -= log.payloadBytes(from: commit.next, through: allowed)
        commit = allowed
    }

    /// Steps down when no quorum has answered within an election timeout (dissertation §6.2): somebody else may lead by
    /// now, and clients should look for them.
    mutating func checkQuorum(at now: Instant, into effects: inout [Effect]) {
        guard now >= election.quorumDeadline else { return }
        let heard = quorum.reached { node in
            node == id ? now : peerIndex(node).map { peers[$0].lastContact } ?? .zero
        }
        let deadline = (heard ?? .zero) + options.electionTimeout
        if deadline <= now {
            follow(nil, term: hardState.term, reason: .quorumLost, at: now, into: &effects)
        } else {
            election.quorumDeadline = deadline
        }
    }

    /// Whether closed links leave no quorum to talk to.
    var isQuorumUnreachable: Bool {
        guard !downLinks.isEmpty else { return false }
        return quorum.result { $0 == id || !downLinks.contains($0) } == .lost
    }

    // MARK: Proposals

    /// Appends commands, or says why not. Refusals are final: the command is not in the log.
    mutating func propose(_ proposals: [Proposal], into effects: inout [Effect]) {
        if let reason = admissionRefusal {
            effects.append(.proposalsRefused(proposals.map(\.token), reason))
            return
        }
        var appended: [UInt64] = []
        appended.reserveCapacity(proposals.count)
        var oversized: [UInt64] = []
        var index = log.last.index
        let first = EntryID(term: hardState.term, index: index.next)
        var position = 0
        while position < proposals.count {
            let size = proposals[position].payload.count
            if size > Limits.entryPayloadBytes {
                oversized.append(proposals[position].token)
                position += 1
                continue
            }
            guard
                uncommittedBytes + size <= options.maximumUncommittedBytes,
                index.distance(from: commit) < options.maximumUncommittedEntries
            else { break }
            index = index.next
            uncommittedBytes += size
            log.append(
                Entry(
                    id: EntryID(term: hardState.term, index: index),
                    kind: proposals[position].isGuarded ? .guardedCommand : .command,
                    payload: proposals[position].payload))
            appended.append(proposals[position].token)
            if let origin = proposals[position].origin.flatMap(peerIndex) { peers[origin].awaited = index }
            position += 1
        }
        if !appended.isEmpty { effects.append(.proposalsAppended(appended, first: first)) }
        if !oversized.isEmpty { effects.append(.proposalsRefused(oversized, .oversized)) }
        if position < proposals.count {
            effects.append(.proposalsRefused(proposals[position...].map(\.token), .overloaded))
        }
    }

    /// Why nothing is admitted now.
    var admissionRefusal: RefusalReason? {
        guard role == .leader else { return .notLeader(hint: leader) }
        if isDriverStalled || lastStallAttempt != nil { return .storageStalled }
        if transfer != nil { return .transferring }
        if isStorageFull { return .storageFull }
        if isPaused { return .paused }
        if isQuorumUnreachable { return .quorumUnreachable }
        return nil
    }

    /// Appends a configuration, in force at once on this node.
    ///
    /// The rules of when a change is allowed are the caller's; all else computes with whatever is in force.
    package mutating func appendConfiguration(
        _ configuration: Configuration, at now: Instant, into effects: inout [Effect]
    ) {
        precondition(role == .leader && configuration.isValid, "a \(role) cannot append \(configuration)")
        let entry = Entry(
            id: EntryID(term: hardState.term, index: log.last.index.next), kind: .configuration,
            payload: configuration.encoded())
        uncommittedBytes += entry.payload.count
        log.append(entry)
        // One of an earlier leader; it must not come to life again with this node's membership.
        if !configuration.contains(id) { held.drop() }
        reconcilePeers(next: log.last.index, at: now)
        isConfigurationOpen = true
        effects.append(.configurationChanged(configuration, at: entry.index))
    }

    // MARK: A disk that hangs

    /// When the oldest write has waited too long, or when to try again to hand over.
    var stallDeadline: Instant? {
        guard let lastStallAttempt else { return log.oldestWrite.map { $0 + options.storageStallLimit } }
        return lastStallAttempt + options.electionTimeout
    }

    func isStorageStalled(at now: Instant) -> Bool {
        if isDriverStalled { return true }
        guard let oldest = log.oldestWrite else { return false }
        return now - oldest >= options.storageStallLimit
    }

    /// A leader whose disk hangs still answers heartbeats, so nobody would ever replace it: it stops admitting and
    /// hands over by itself.
    mutating func handOverIfStalled(at now: Instant) {
        guard isStorageStalled(at: now) else {
            lastStallAttempt = nil
            return
        }
        if let lastStallAttempt, now < lastStallAttempt + options.electionTimeout { return }
        lastStallAttempt = now
        guard transfer == nil, let target = bestSuccessor(at: now) else { return }
        beginTransfer(to: target, isRequested: false, at: now)
    }
}
