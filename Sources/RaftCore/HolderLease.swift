public import EsperTypes

/// A leader's promise to one node: until the lease is over it makes no commit of a guarded command visible to anybody that the node
/// does not have in its log.
///
/// So the node may answer for whatever guarded commands alone change and its own log does not touch (Gray and Cheriton 1989; Hermes 2020). It counts the length from
/// before it sent the request that the grant names; the leader from after that.
public struct LeaseGrant: Hashable, Sendable {
    /// The request that it answers; never 0.
    public var request: UInt64
    /// In whole milliseconds.
    public var length: Duration
    /// What was committed when it was granted: the node answers once it has applied that.
    public var base: LogIndex

    public init(request: UInt64, length: Duration, base: LogIndex) {
        self.request = request
        self.length = length
        self.base = base
    }
}

/// By what a node may answer from its own state; see ``RaftNode/holderLease``.
public struct HolderLease: Hashable, Sendable {
    /// On the node's own clock.
    public var until: Instant
    /// What must be applied first.
    public var base: LogIndex
    /// Since when there has been one without a gap.
    public var since: Instant

    package init(until: Instant, base: LogIndex, since: Instant) {
        self.until = until
        self.base = base
        self.since = since
    }
}

/// The holder's side: what it asked for, and what it was granted.
struct HeldLease: Sendable {
    private(set) var lease: HolderLease?
    /// The request that was not granted yet, with a moment before it was first sent.
    private var outstanding: (number: UInt64, sentAt: Instant)?
    private var lastSentAt: Instant?
    /// Begins anywhere in each life of the node, so that a grant to an earlier one is none to this.
    private var next: UInt64

    init(seed: UInt64) {
        var generator = SeededGenerator(seed: seed ^ 0x6c65_6173_6573)
        next = generator.next() | 1
    }

    /// The number that the answer which leaves now shall carry; 0: it asks for nothing.
    mutating func request(at now: Instant, length: Duration) -> UInt64 {
        if let outstanding, now - outstanding.sentAt < length / 2 { return outstanding.number }
        if outstanding == nil, let lease, now < lease.until, let lastSentAt, now - lastSentAt < length / 4 { return 0 }
        next = next &+ 2
        outstanding = (next, now)
        return next
    }

    /// Takes a grant, unless it answers another request than the last one: so one that comes twice or late changes nothing.
    mutating func take(_ grant: LeaseGrant, at now: Instant) {
        guard let request = outstanding, grant.request == request.number else { return }
        outstanding = nil
        lastSentAt = request.sentAt
        let until = request.sentAt + grant.length
        guard until > now else { return }
        if let lease, now < lease.until {
            // Every guarded entry that became visible meanwhile is in this log already.
            self.lease = HolderLease(until: max(until, lease.until), base: lease.base, since: lease.since)
        } else {
            lease = HolderLease(until: until, base: grant.base, since: now)
        }
    }

    /// Ends the lease, and does not take what was asked for before.
    mutating func drop() {
        lease = nil
        outstanding = nil
        lastSentAt = nil
    }

    /// Set by tests that break the rules.
    mutating func pretend(_ pretended: HolderLease?) { lease = pretended }
}

extension RaftNode {
    /// By what this node may answer from its state for whatever guarded commands alone change, and none of its log beyond that state.
    ///
    /// Good for as long as it says, whatever happens to leaders meanwhile, on the clock that goes on while the machine is
    /// suspended. Nil: no lease, or none any more. Whoever uses it also has to see that ``HolderLease/base`` is applied, and must know
    /// of an entry before the acknowledgement of that entry leaves.
    public var holderLease: HolderLease? {
        guard options.holderLease > .zero, quarantine == nil, log.configuration.configuration.contains(id) else {
            return nil
        }
        if role == .leader, commit >= termStart, let since = roster.confirmedAt {
            let until = since + grantableLength
            if until > held.lease?.until ?? .zero {
                return HolderLease(until: until, base: termStart, since: roster.confirmedSince ?? since)
            }
        }
        return held.lease
    }

    /// The last entry of the log beyond `applied` that may change what holders answer; nil: there is none.
    public func lastGuarded(after applied: LogIndex) -> LogIndex? { log.lastGuarded(after: applied) }

    /// What the next answer to the leader asks for; 0 is nothing.
    mutating func leaseRequest() -> UInt64 {
        guard options.holderLease > .zero, quarantine == nil, pendingRestore == nil, restoring == nil, !isExcluded,
            log.configuration.configuration.contains(id)
        else { return 0 }
        return held.request(at: lastInstant, length: options.holderLease)
    }

    mutating func leaseGranted(_ grant: LeaseGrant, at now: Instant) {
        guard options.holderLease > .zero, pendingRestore == nil, restoring == nil,
            log.configuration.configuration.contains(id)
        else { return }
        held.take(grant, at: now)
    }

    /// Set by tests that break the rules.
    package mutating func pretendLease(_ lease: HolderLease?) { held.pretend(lease) }
}
