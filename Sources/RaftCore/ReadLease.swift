import DequeModule
package import EsperTypes

/// Linearizable reads without a round of messages, while an entry of this leader's own is young (LeaseGuard: Davis,
/// Demirbas and Deng 2025).
///
/// A committed entry is the lease. Whoever leads next has it (§5.4), and commits nothing before its newest entry from
/// others is ``RaftOptions/readLease`` old, counted from when it came. So for that long after the entry was made, less
/// what two clocks can differ, nothing is committed but by the leader that made it. Elections go on as ever.
///
/// Every follower says with each answer how long it would wait; a leader counts on the shortest wait of all voters, so that
/// settings may differ between nodes while they are changed.
struct ReadLease: Sendable {
    /// Ends of own entries that are not committed, with a moment before which nobody else heard of them.
    private var pending: Deque<(through: LogIndex, since: Instant)> = []
    private var marked = LogIndex.zero
    /// When the newest committed one was made.
    private(set) var since: Instant?
    /// Somebody was told to take over without waiting: there is no lease any more in this term.
    var isForsaken = false

    /// At the end of a turn: entries up to `last` stand in the log, and leave this node after `now`.
    mutating func advance(commit: LogIndex, last: LogIndex, at now: Instant) {
        if last > marked {
            pending.append((last, now))
            marked = last
        }
        while let first = pending.first, first.through <= commit {
            since = first.since
            pending.removeFirst()
        }
    }
}

extension RaftNode {
    /// How long a committed entry of this leader serves reads: as long as every voter would wait, by the slowest clock
    /// here and the fastest there.
    private var leaseLength: Duration {
        var length = options.readLease
        for voter in log.configuration.configuration.voters where voter != id {
            length = min(length, peerIndex(voter).map { peers[$0].leaseWait } ?? .zero)
        }
        return length - length * (2 * options.clockDriftPermille) / 1000
    }

    package func holdsLease(at now: Instant) -> Bool {
        guard options.readLease > .zero, !lease.isForsaken, let since = lease.since else { return false }
        return now < since + leaseLength
    }

    /// Whether leadership was offered to somebody without a wait in this term. Set by tests that break the rule.
    package var isLeaseForsaken: Bool {
        get { lease.isForsaken }
        set { lease.isForsaken = newValue }
    }

    /// Makes an entry when reads would soon be without a lease and nothing else brings one.
    mutating func renewLease(at now: Instant) {
        guard options.readLease > .zero, !lease.isForsaken, log.last.index == commit, admissionRefusal == nil else {
            return
        }
        let length = leaseLength
        guard length > .zero, (lease.since ?? .zero) + length * 3 / 4 <= now else { return }
        log.append(Entry(id: EntryID(term: hardState.term, index: log.last.index.next), kind: .noop))
    }

    /// When a new leader may commit: nobody serves reads any more on the strength of what it has from others.
    func firstCommit(at now: Instant) -> Instant {
        election.isLeaseReleased ? now : entriesGainedAt + options.readLease
    }
}
