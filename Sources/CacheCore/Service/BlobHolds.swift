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
    }

    /// Those that may be deleted: referred to by nothing, not held, and untouched for the whole time of grace.
    public func garbage(
        _ candidates: [(digest: Digest, idle: Duration)], referenced: Set<Digest>, grace: Duration
    ) -> [Digest] {
        candidates.filter { $0.idle >= grace && !referenced.contains($0.digest) && !isHeld($0.digest) }.map(\.digest)
    }
}
