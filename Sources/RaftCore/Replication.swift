import EsperTypes

/// The leader's side of the log: what to send to whom, and what the answers mean (§5.3).
extension RaftNode {
    /// The entries of the last append built in a flush: followers that are level share one array.
    struct SharedSlice {
        var lower = LogIndex.zero
        var upper = LogIndex.zero
        var entries: [Entry] = []

        mutating func entries(of log: RaftLog, from lower: LogIndex, through upper: LogIndex) -> [Entry] {
            if self.lower != lower || self.upper != upper {
                self.lower = lower
                self.upper = upper
                entries = log.slice(from: lower, through: upper)
            }
            return entries
        }
    }

    mutating func replicateToPeers(at now: Instant, into effects: inout [Effect]) {
        var shared = SharedSlice()
        dismissDeparted(at: now)
        for position in peers.indices {
            let isHeartbeatDue = now - peers[position].lastSent >= options.heartbeatInterval
            repairIfLost(position, at: now)
            var hasSent = false
            if peers[position].state != .snapshot, log.term(at: peers[position].next.previous) == nil {
                if peers[position].isDeparting { continue }
                beginSnapshot(position)
            }
            switch peers[position].state {
            case .probe:
                if peers[position].probeAnchor == nil {
                    sendEntries(to: position, shared: &shared, at: now, into: &effects)
                    hasSent = true
                }
            case .replicate:
                while peers[position].next <= log.last.index, peers[position].hasRoom(options) {
                    sendEntries(to: position, shared: &shared, at: now, into: &effects)
                    hasSent = true
                }
            case .snapshot: advanceSnapshot(position, at: now, into: &effects)
            }
            if !hasSent, isHeartbeatDue || isNoticeDue(position, at: now) {
                sendNotice(to: position, at: now, into: &effects)
            }
        }
    }

    /// Former members are let go when they have the configuration that leaves them out and were told that it is
    /// committed, or when that takes too long: then the votes of the others keep them from disturbing.
    private mutating func dismissDeparted(at now: Instant) {
        guard peers.indices.contains(where: { peers[$0].departsAt != nil }) else { return }
        let index = log.configuration.index
        peers.removeAll { peer in
            guard let departsAt = peer.departsAt else { return false }
            // Whoever needs a snapshot would not have it in time.
            let isBehind = peer.state != .snapshot && log.term(at: peer.next.previous) == nil
            return now >= departsAt || isBehind || peer.match >= index && peer.commitTold >= index
        }
    }

    /// Whether the follower should hear of a read round, or of a commit that lets it apply.
    ///
    /// Under load the next append carries the commit for nothing, so that word of it alone waits a moment, unless the
    /// follower itself proposed what was committed.
    private mutating func isNoticeDue(_ position: Int, at now: Instant) -> Bool {
        if isReadRoundDue(position, at: now) { return true }
        guard peers[position].state == .replicate,
            peers[position].commitTold < min(commit, peers[position].next.previous)
        else {
            peers[position].noticeSince = nil
            return false
        }
        if peers[position].awaited > peers[position].commitTold { return true }
        let since = peers[position].noticeSince ?? now
        peers[position].noticeSince = since
        return now - since >= options.commitNoticeDelay
    }

    /// Not tied to heartbeats: under load reads and word of commits take their place, and none is ever due.
    ///
    /// Entries are given half an election timeout, which outlasts every round trip that an election survives.
    private mutating func repairIfLost(_ position: Int, at now: Instant) {
        guard peers[position].unansweredSince != nil else { return }
        if peers[position].hasLost(at: now, after: options.electionTimeout / 2) {
            let received = min(peers[position].received, log.last.index)
            peers[position].probe(after: received, session: newSession())
        } else if peers[position].hasLostProbe(at: now, after: options.heartbeatInterval) {
            peers[position].repeatProbe()
        }
    }

    private mutating func sendEntries(
        to position: Int, shared: inout SharedSlice, at now: Instant, into effects: inout [Effect]
    ) {
        let next = peers[position].next
        guard let previous = log.id(at: next.previous) else {
            preconditionFailure("entry before \(next) is not in the log \(log.base)...\(log.last)")
        }
        var through = previous.index
        var bytes = 0
        if next <= log.last.index, !peers[position].isProbeRepeated {
            (through, bytes) = log.reach(from: next, maximumBytes: options.maximumAppendBytes)
        }
        let entries = through > previous.index ? shared.entries(of: log, from: next, through: through) : []
        peers[position].appendSent(previous: previous.index, through: through, bytes: bytes, at: now)
        if !entries.isEmpty { noteInvalidation(of: position, through: through, at: now) }
        send(previous: previous, entries: entries, to: position, at: now, into: &effects)
    }

    /// A heartbeat, a read round or a commit notice: anchored at an entry the follower is known to have, so that it
    /// neither conflicts nor says anything about what is in flight.
    private mutating func sendNotice(to position: Int, at now: Instant, into effects: inout [Effect]) {
        let anchor = log.id(at: peers[position].match) ?? .zero
        send(previous: anchor, entries: [], to: position, at: now, into: &effects)
    }

    private mutating func send(
        previous: EntryID, entries: [Entry], to position: Int, at now: Instant, into effects: inout [Effect]
    ) {
        peers[position].lastSent = now
        peers[position].commitTold = commit
        peers[position].noticeSince = nil
        peers[position].readSent = reads.sequence
        let append = AppendEntries(
            term: hardState.term, session: peers[position].session, readSequence: reads.sequence, previous: previous,
            commit: commit, entries: entries, grant: grant(to: position, at: now))
        effects.append(.send(.appendEntries(append), to: peers[position].id, after: nil))
    }

    // MARK: Answers

    mutating func appendAnswered(
        _ response: AppendEntriesResponse, by follower: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard let position = leaderHears(follower, term: response.term, at: now, into: &effects) else { return }
        peers[position].leaseWait = response.leaseWait
        peers[position].holderWait = response.holderWait
        if response.leaseRequest != 0 { peers[position].leaseRequest = response.leaseRequest }
        // Rounds are numbered within the term: an answer of any session proves that the follower had not moved on.
        if response.readSequence <= reads.sequence {
            peers[position].readAcknowledged = max(peers[position].readAcknowledged, response.readSequence)
        }
        guard response.session == peers[position].session else { return }
        switch response.outcome {
        case .matched(let durable, let received):
            guard durable <= log.last.index, received <= log.last.index else { return }
            _ = peers[position].matched(durable: durable, received: received, at: now)
            noteAcknowledgement(by: position, at: now)
            leaveSnapshotIfPossible(position)
        case .conflict(let previous, let hint):
            _ = peers[position].conflicted(
                previous: previous.index, agreeing: lastPossibleAgreement(with: hint), session: newSession())
        case .staleTerm: break
        }
    }

    /// Where our log may agree with one that has `hint.term` at `hint.index`, and disagrees after it: whole terms
    /// are skipped (§5.3). Before the base when even that is too new, so that only a snapshot helps.
    private func lastPossibleAgreement(with hint: EntryID) -> LogIndex {
        guard hint.index >= log.base.index else { return hint.index }
        let agreeing = log.lastIndex(atOrBefore: hint.index, termAtMost: hint.term)
        return agreeing.term <= hint.term ? agreeing.index : agreeing.index.previous
    }

    /// What every answer of a follower says: its term, and that it is there.
    ///
    /// - Returns: the follower's place among the peers; nil when the answer is not for this leader and term.
    mutating func leaderHears(
        _ follower: NodeID, term: Term, at now: Instant, into effects: inout [Effect]
    ) -> Int? {
        if term > hardState.term {
            follow(nil, term: term, reason: .newerTerm, at: now, into: &effects)
            return nil
        }
        guard role == .leader, term == hardState.term, let position = peerIndex(follower) else { return nil }
        peers[position].lastContact = now
        peers[position].hasAnswered = true
        peers[position].isLinkDown = false
        return position
    }

    // MARK: Links

    mutating func peerLinkDown(_ peer: NodeID) {
        guard let position = peerIndex(peer) else { return }
        peers[position].isLinkDown = true
    }

    /// What was in flight on the old link is lost: look again where the logs agree.
    mutating func peerLinkUp(_ peer: NodeID) {
        guard let position = peerIndex(peer) else { return }
        peers[position].isLinkDown = false
        switch peers[position].state {
        case .probe, .replicate:
            peers[position].probe(after: peers[position].match, session: newSession())
        case .snapshot:
            if case .awaiting? = peers[position].transfer?.step { peers[position].transfer?.step = .ready }
        }
    }
}
