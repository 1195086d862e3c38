import EsperTypes

/// What a leader knows about one follower.
///
///     probe ──agreement found──▶ replicate ──conflict, loss, link down──▶ probe
///       └──next entry compacted──▶ snapshot ──installed──▶ replicate
///
/// Invariants: `match < next`; appends in flight end in `match < end < next` and rise; only a `snapshot` has a transfer.
struct Progress: Sendable {
    let id: NodeID
    private(set) var state: RaftStatus.Peer.State = .probe
    /// Answers that echo another session are not about what is being sent now.
    private(set) var session: SessionNonce
    /// The follower's log equals ours up to here, durably.
    private(set) var match: LogIndex = .zero
    /// The next entry to send.
    private(set) var next: LogIndex
    /// How far the follower last said it had received.
    private(set) var received: LogIndex = .zero
    private(set) var inflights = Inflights()
    /// The entry before the outstanding probe; nil when none is out.
    private(set) var probeAnchor: LogIndex?
    /// A repeated probe carries no entries, so that a silent follower costs little.
    private(set) var isProbeRepeated = false
    var transfer: SnapshotTransfer?

    /// The last answer in this term; the leader's start counts as one.
    var lastContact: Instant
    var hasAnswered = false
    var isLinkDown = false
    var lastSent: Instant
    var commitTold: LogIndex = .zero
    /// Since when word of a commit waits for an append that carries it.
    var noticeSince: Instant?
    /// The last entry that this follower proposed: it hears of every commit up to there at once.
    var awaited: LogIndex = .zero
    /// How long the follower would wait for our reads if it led next.
    var leaseWait = Duration.zero
    /// How long the follower would wait for holders of our leases.
    var holderWait = Duration.zero
    /// The lease that it asks for; 0: none, or it was granted.
    var leaseRequest: UInt64 = 0
    /// The append to a holder of a lease that is measured, and when it was first sent.
    var invalidation: (through: LogIndex, at: Instant)?
    var readSent: ReadSequence = .zero
    var readAcknowledged: ReadSequence = .zero
    /// A former member is told of its removal until then.
    var departsAt: Instant?
    var isDeparting: Bool { departsAt != nil }
    /// Since when something is on its way and the follower has said of nothing new that it came; nil when nothing is.
    private(set) var unansweredSince: Instant?

    init(id: NodeID, next: LogIndex, session: SessionNonce, at now: Instant) {
        self.id = id
        self.next = next
        self.session = session
        lastContact = now
        lastSent = .zero
    }

    // MARK: What was sent

    /// Entries after `previous` went out; `through` equals `previous` for a probe without entries.
    mutating func appendSent(previous: LogIndex, through: LogIndex, bytes: Int, at now: Instant) {
        if state == .probe {
            probeAnchor = previous
            unansweredSince = now
        }
        guard through > previous else { return }
        unansweredSince = unansweredSince ?? now
        inflights.add(end: through, bytes: bytes)
        next = through.next
    }

    func hasRoom(_ options: RaftOptions) -> Bool {
        inflights.count < options.maximumInFlightAppends && inflights.bytes < options.maximumInFlightBytes
    }

    // MARK: What came back

    /// The logs agree: durably up to `durable`, in the follower's memory up to `received`.
    ///
    /// - Returns: whether `match` grew.
    mutating func matched(durable: LogIndex, received newlyReceived: LogIndex, at now: Instant) -> Bool {
        let before = received
        received = max(newlyReceived, durable)
        let grew = durable > match
        if grew {
            match = durable
            inflights.free(through: durable)
        }
        switch state {
        case .probe:
            if let probeAnchor, received >= probeAnchor { replicate() }
        case .replicate, .snapshot: break
        }
        if next <= match { next = match.next }
        if received.next >= next {
            unansweredSince = nil
        } else if received > before || unansweredSince == nil {
            // Also when it takes back what it had said: a follower that lost its leader in between knows less again.
            unansweredSince = now
        }
        return grew
    }

    /// The follower does not have the entry before some append; it agrees at most up to `hint`.
    mutating func conflicted(previous: LogIndex, agreeing hint: LogIndex, session new: SessionNonce) -> Bool {
        guard previous > match else { return false }
        switch state {
        case .snapshot: return false
        case .probe: guard probeAnchor == previous else { return false }
        case .replicate: guard previous < next else { return false }
        }
        probe(after: max(hint, match), session: new)
        return true
    }

    /// Whether what is in flight was lost: the follower still says it has less, and has received nothing new for so long,
    /// whatever else it was told meanwhile. A slow disk does not look like this: `received` counts what is in memory.
    func hasLost(at now: Instant, after silence: Duration) -> Bool {
        guard state == .replicate, received.next < next, let unansweredSince else { return false }
        return now - unansweredSince >= silence
    }

    /// Whether the outstanding probe should have been answered by now.
    func hasLostProbe(at now: Instant, after silence: Duration) -> Bool {
        guard state == .probe, probeAnchor != nil, let unansweredSince else { return false }
        return now - unansweredSince >= silence
    }

    // MARK: Changing state

    mutating func probe(after index: LogIndex, session new: SessionNonce) {
        state = .probe
        session = new
        next = max(index, match).next
        inflights.removeAll()
        probeAnchor = nil
        isProbeRepeated = false
        transfer = nil
        received = match
        unansweredSince = nil
    }

    /// The outstanding probe got no answer.
    mutating func repeatProbe() {
        guard state == .probe, let anchor = probeAnchor else { return }
        next = max(anchor.next, match.next)
        inflights.removeAll()
        probeAnchor = nil
        unansweredSince = nil
        isProbeRepeated = true
    }

    mutating func sendSnapshot(_ snapshot: SnapshotDescriptor, session new: SessionNonce) {
        probe(after: match, session: new)
        state = .snapshot
        transfer = SnapshotTransfer(descriptor: snapshot)
    }

    mutating func replicate() {
        state = .replicate
        probeAnchor = nil
        isProbeRepeated = false
        transfer = nil
    }

    /// The follower is known to have everything through `match`: go on from there.
    mutating func replicateFromMatch(session new: SessionNonce) {
        probe(after: match, session: new)
        replicate()
    }
}

/// The appends on their way to one follower.
struct Inflights: Sendable {
    private(set) var appends: [(end: LogIndex, bytes: Int)] = []
    private(set) var bytes = 0

    var count: Int { appends.count }
    var isEmpty: Bool { appends.isEmpty }

    mutating func add(end: LogIndex, bytes size: Int) {
        appends.append((end, size))
        bytes += size
    }

    mutating func free(through index: LogIndex) {
        var freed = 0
        while freed < appends.count, appends[freed].end <= index {
            bytes -= appends[freed].bytes
            freed += 1
        }
        appends.removeFirst(freed)
    }

    mutating func removeAll() {
        appends.removeAll(keepingCapacity: true)
        bytes = 0
    }
}

/// Where the sending of one snapshot stands. One chunk at a time is read, sent and answered.
struct SnapshotTransfer: Sendable {
    enum Step: Hashable, Sendable {
        /// The next chunk can be read.
        case ready
        /// The driver is reading.
        case reading
        /// A chunk (or the installation after the last) awaits its answer since this moment.
        case awaiting(since: Instant)
    }

    let descriptor: SnapshotDescriptor
    /// What the follower has written.
    var acknowledged: UInt64 = 0
    /// The rate of sending allows the next chunk from then on.
    var readableFrom = Instant.zero
    var step: Step = .ready
}
