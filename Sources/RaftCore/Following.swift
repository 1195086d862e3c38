import EsperTypes

/// What a follower knows about the leader of its term. Begins anew with every leader.
struct FollowerState: Sendable {
    /// The log equals the leader's up to here.
    var matched = LogIndex.zero
    var session = SessionNonce.zero
    var readSequence = ReadSequence.zero
    /// The newest read round that has been answered.
    var readAnswered = ReadSequence.zero
    /// The leader spoke this turn.
    var owesAnswer = false
    /// The newest disagreement of this turn.
    var conflict: AppendEntriesResponse.Outcome?
    /// The acknowledgement that already waits for the disk.
    var queued: (matched: LogIndex, session: SessionNonce)?
    /// The session of the snapshot that the leader sends.
    var snapshotSession = SessionNonce.zero
}

/// The follower's side of the log (§5.3).
extension RaftNode {
    /// Whether to listen to a leader's message: adopts a newer term, gives up candidacy, refuses a deposed leader.
    ///
    /// - Returns: false for a leader whose term is over, which the caller tells so, and for one that
    ///   cannot be: two leaders in one term.
    mutating func listen(to sender: NodeID, term: Term, at now: Instant, into effects: inout [Effect]) -> Bool {
        guard term >= hardState.term else { return false }
        if term == hardState.term {
            guard role != .leader, leader == nil || leader == sender else { return false }
        }
        follow(sender, term: term, reason: .leaderFound, at: now, into: &effects)
        lastFollowed = (sender, term)
        election.lastLeaderContact = now
        election.chancesLeft = Self.chancesOfOthers
        election.isLeaderLinkDown = false
        election.hintRetries = 0
        resetElectionDeadline(at: now)
        return true
    }

    mutating func appendReceived(
        _ append: AppendEntries, from sender: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard Self.isWellFormed(append) else { return }
        guard listen(to: sender, term: append.term, at: now, into: &effects) else {
            if append.term < hardState.term {
                let response = AppendEntriesResponse(
                    term: hardState.term, session: append.session, readSequence: append.readSequence,
                    leaseWait: options.readLease, outcome: .staleTerm)
                outbox.append((.appendEntriesResponse(response), sender))
            }
            return
        }
        following.session = append.session
        following.readSequence = max(following.readSequence, append.readSequence)
        following.owesAnswer = true
        // The leader holds everything committed (§5.4): up to there the logs agree without a look.
        following.matched = max(following.matched, commit)
        accept(append, into: &effects)
        let known = min(append.commit, following.matched)
        if known > commit { commit = known }
        if let grant = append.grant { leaseGranted(grant, at: now) }
    }

    /// Appends what is new. Entries already here are left alone, so that a late or repeated append never cuts off what a
    /// newer one brought.
    private mutating func accept(_ append: AppendEntries, into effects: inout [Effect]) {
        var entries = append.entries[...]
        var previous = append.previous
        if previous.index < log.base.index {
            // The part before the base is in our snapshot.
            let covered = log.base.index.distance(from: previous.index)
            guard covered <= entries.count, entries[covered - 1].id == log.base else { return }
            entries = entries.dropFirst(covered)
            previous = log.base
        }
        guard log.holds(previous) else {
            let hint = log.lastIndex(atOrBefore: previous.index, termAtMost: previous.term)
            following.conflict = .conflict(previous: append.previous, hint: hint)
            return
        }
        let configurationBefore = log.configuration
        if log.last.index > previous.index {
            while let entry = entries.first, log.holds(entry.id) { entries = entries.dropFirst() }
            if let entry = entries.first, entry.index <= log.last.index, !isStorageFull {
                // A leader that contradicts what is committed is no leader; do not let it.
                guard entry.index > commit else { return }
                log.truncate(from: entry.index)
                following.matched = min(following.matched, entry.index.previous)
            }
        }
        var through = append.previous.index.advanced(by: append.entries.count)
        if isStorageFull {
            // As if lost on the way: the leader repeats them, and does without this node meanwhile.
            through = entries.first?.index.previous ?? through
        } else if !entries.isEmpty {
            log.append(contentsOf: entries)
            entriesGainedAt = lastInstant
        }
        following.matched = max(following.matched, through)
        announceConfiguration(unless: configurationBefore, into: &effects)
    }

    mutating func announceConfiguration(
        unless before: RaftLog.ConfigurationRecord, into effects: inout [Effect]
    ) {
        let now = log.configuration
        guard now != before else { return }
        if !now.configuration.contains(id) { held.drop() }
        effects.append(.configurationChanged(now.configuration, at: now.index))
    }

    private static func isWellFormed(_ append: AppendEntries) -> Bool {
        var previous = append.previous
        guard previous.term <= append.term else { return false }
        for entry in append.entries {
            guard
                entry.index == previous.index.next, entry.term >= previous.term, entry.term <= append.term,
                entry.payload.count <= Limits.entryPayloadBytes
            else { return false }
            if entry.kind == .configuration, (try? Configuration(decoding: entry.payload))?.isValid != true {
                return false
            }
            previous = entry.id
        }
        return true
    }

    /// One acknowledgement for the turn, after the write it depends on; and, when the leader waits for a sign of life or
    /// a read round while the disk is busy, that sign at once.
    ///
    /// The sign needs no disk for what it says ("I have not moved past your term"); it vouches for entries only as far
    /// as they and the term are durable already.
    mutating func acknowledge(into effects: inout [Effect]) {
        guard following.owesAnswer, let leader else { return }
        following.owesAnswer = false
        if let conflict = following.conflict {
            following.conflict = nil
            answer(leader, conflict, after: nil, into: &effects)
            if following.matched == .zero { return }
        }
        let matched = min(following.matched, log.last.index)
        let barrier = max(
            log.sequence(covering: matched) ?? .zero, isHardStateDurable ? .zero : hardStateSequence)
        guard barrier > .zero else {
            following.queued = nil
            answer(leader, .matched(durable: matched, received: matched), after: nil, into: &effects)
            return
        }
        let isQueued = following.queued.map { $0.matched == matched && $0.session == following.session } ?? false
        if isQueued || following.readSequence > following.readAnswered {
            let durable = isHardStateDurable ? min(matched, log.durable) : .zero
            answer(leader, .matched(durable: durable, received: matched), after: nil, into: &effects)
        }
        if !isQueued {
            following.queued = (matched, following.session)
            answer(leader, .matched(durable: matched, received: matched), after: barrier, into: &effects)
        }
    }

    private mutating func answer(
        _ leader: NodeID, _ outcome: AppendEntriesResponse.Outcome, after barrier: WriteSequence?,
        into effects: inout [Effect]
    ) {
        following.readAnswered = max(following.readAnswered, following.readSequence)
        let response = AppendEntriesResponse(
            term: hardState.term, session: following.session, readSequence: following.readSequence,
            leaseWait: options.readLease, holderWait: options.holderLease, leaseRequest: leaseRequest(),
            outcome: outcome)
        effects.append(.send(.appendEntriesResponse(response), to: leader, after: barrier))
    }
}
