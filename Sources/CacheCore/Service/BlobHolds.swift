public import EsperTypes

/// Blobs that stores under way count on: not to be deleted, whoever refers to them or not.
///
/// A hold ends with its store, or with its time for a store that was never heard of again. Whoever asks whether a blob is
/// there in order to refer to it takes a hold first and asks then, so a collector that looks after him sees the hold, and one
/// that looked before him has deleted it before he asks.
public struct BlobHolds: Sendable {
    public typealias Holder = UInt64

    private var holders: [Holder: (digests: [Digest], until: Instant)] = [:]
    private var counts: [Digest: Int] = [:]
    private var next: Holder = 1
    /// About to be deleted, and by whom: nobody begins to count on them before it is over.
    private var condemned: [Digest: (collector: NodeID, until: Instant)] = [:]
    public let maximumHolders: Int

    public init(maximumHolders: Int = 65_536) { self.maximumHolders = maximumHolders }

    public var digestCount: Int { counts.count }

    /// - Returns: nil when there are as many as may be.
    public mutating func hold(_ digests: [Digest], until: Instant, now: Instant) -> Holder? {
        if holders.count >= maximumHolders { sweep(now) }
        guard holders.count < maximumHolders else { return nil }
        let holder = next
        next += 1
        holders[holder] = (digests, until)
        for digest in digests { counts[digest, default: 0] += 1 }
        return holder
    }

    public mutating func release(_ holder: Holder) {
        guard let hold = holders.removeValue(forKey: holder) else { return }
        for digest in hold.digests {
            guard let count = counts[digest] else { continue }
            counts[digest] = count == 1 ? nil : count - 1
        }
    }

    public func isHeld(_ digest: Digest) -> Bool { counts[digest] != nil }

    public mutating func sweep(_ now: Instant) {
        for (holder, hold) in holders where hold.until <= now { release(holder) }
        condemned = condemned.filter { $0.value.until > now }
    }

    // MARK: What is about to be deleted where all nodes look for it

    /// A collector is about to delete them. From now on ``isCondemned(_:now:)`` tells stores to wait, until the collector is done
    /// or, when nobody hears of it again, until the time given: longer than a deletion that was sent may take to happen.
    ///
    /// - Returns: those that it must leave: held, or about to be deleted by another collector, whose deletion may come when this one
    ///   is done.
    public mutating func condemn(
        _ digests: [Digest], by collector: NodeID, until: Instant, now: Instant
    ) -> Set<Digest> {
        var wanted: Set<Digest> = []
        for digest in digests {
            let isTaken = condemned[digest].map { $0.collector != collector && $0.until > now } ?? false
            if isHeld(digest) || isTaken { wanted.insert(digest) } else { condemned[digest] = (collector, until) }
        }
        return wanted
    }

    /// The collector has deleted them, or leaves them.
    public mutating func reprieve(_ digests: [Digest], by collector: NodeID) {
        for digest in digests where condemned[digest]?.collector == collector { condemned[digest] = nil }
    }

    public func isCondemned(_ digest: Digest, now: Instant) -> Bool {
        condemned[digest].map { $0.until > now } ?? false
    }

    /// Those that may be deleted: referred to by nothing, not held, and untouched for the whole time of grace.
    public func garbage(
        _ candidates: [(digest: Digest, idle: Duration)], referenced: Set<Digest>, grace: Duration
    ) -> [Digest] {
        candidates.filter { $0.idle >= grace && !referenced.contains($0.digest) && !isHeld($0.digest) }.map(\.digest)
    }
}
