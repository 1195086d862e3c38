public import EsperTypes

/// Blobs that this node's stores count on, and those that collectors are about to delete where all nodes look for them.
///
/// - A *hold* is a store's: until it ends, or until its time is over when nobody knows whether it took effect.
/// - A *claim* is of a store that will come: what is found out about the blob from then on is evidence for it.
/// - A *condemned* blob is a promise to a collector: no store begins to count on it before the collector is done.
///
/// Whoever wants a blob takes a hold or a claim first, waits until it is not condemned, and only then looks where it is. A collector
/// asks every node first, and only then reads the names. So of the two one always sees the other.
///
/// Promises outlive the process (``promises(at:)``, ``restarted(_:at:quiet:condemnation:)``): a node that forgot one would let its stores
/// count on what is being deleted. Holds and claims end with it, and so do their stores; but what a store of the process before
/// has asked to bind may be bound yet, so a node lets nothing go for a while after its start.
public struct BlobHolds: Sendable {
    public typealias Holder = UInt64
    public typealias Claim = UInt64

    private var holders: [Holder: (digests: [Digest], until: Instant)] = [:]
    private var counts: [Digest: Int] = [:]
    private var next: UInt64 = 1
    private var claims: [Digest: (number: Claim, since: Instant, evidence: BlobHolding)] = [:]
    private var condemned: [Digest: (by: CollectionID, until: Instant)] = [:]
    /// Nothing goes before.
    private var quietUntil = Instant.zero
    /// Everything counts as condemned before: the promises of the process before are not known.
    private var unsureUntil = Instant.zero
    public let maximumHolders: Int
    public let maximumClaims: Int

    public init(maximumHolders: Int = 65_536, maximumClaims: Int = 262_144) {
        self.maximumHolders = maximumHolders
        self.maximumClaims = maximumClaims
    }

    // MARK: Holds

    public var digestCount: Int { counts.count }

    /// - Returns: nil when there are as many as may be.
    public mutating func hold(_ digests: [Digest], until: Instant, now: Instant) -> Holder? {
        if holders.count >= maximumHolders { endHolds(now) }
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

    private mutating func endHolds(_ now: Instant) {
        for (holder, hold) in holders where hold.until <= now { release(holder) }
    }

    /// Forgets what has ended: holds and promises whose time is over, and claims older than `lifetime`.
    public mutating func sweep(_ now: Instant, claimsOlderThan lifetime: Duration) {
        endHolds(now)
        claims = claims.filter { now - $0.value.since < lifetime }
        condemned = condemned.filter { $0.value.until > now }
    }

    // MARK: Claims

    /// For a store that will come. The oldest claim of a blob counts: it is not renewed by what others say later. When there are too
    /// many, all are forgotten, and their stores look anew.
    public mutating func claim(_ digests: [Digest], now: Instant) -> Claim {
        if claims.count + digests.count(where: { claims[$0] == nil }) > maximumClaims { claims = [:] }
        let claim = next
        next += 1
        for digest in digests where claims[digest] == nil { claims[digest] = (claim, now, BlobHolding()) }
        return claim
    }

    /// What was found out after the claim was made. What is no evidence: that of a claim which was forgotten meanwhile, even
    /// if somebody has claimed the blob again; a collector may have deleted it in between.
    public mutating func note(_ holdings: [Digest: BlobHolding], under claim: Claim) {
        for (digest, holding) in holdings {
            guard let known = claims[digest], known.number <= claim else { continue }
            claims[digest]?.evidence.formUnion(holding)
        }
    }

    /// Where the blob is known to be, and has been without a gap since it was claimed.
    public func evidence(of digest: Digest) -> BlobHolding? { claims[digest]?.evidence }

    // MARK: What is about to be deleted where all nodes look for it

    /// A collection is about to delete them. From now on ``isCondemned(_:now:)`` tells stores to wait, until the collection is over
    /// or, when nobody hears of it again, until the time given: longer than a deletion that was sent may take to happen.
    ///
    /// - Returns: those that it must leave: wanted, or about to be deleted by another collection, whose deletion may come when this one
    ///   is over.
    public mutating func condemn(
        _ digests: [Digest], by collection: CollectionID, until: Instant, now: Instant
    ) -> Set<Digest> {
        guard now >= quietUntil else { return Set(digests) }
        var wanted: Set<Digest> = []
        for digest in digests {
            let isTaken = condemned[digest].map { $0.by != collection && $0.until > now } ?? false
            if isHeld(digest) || claims[digest] != nil || isTaken {
                wanted.insert(digest)
            } else {
                condemned[digest] = (collection, until)
            }
        }
        return wanted
    }

    /// The collection has deleted them, or leaves them. A word about an earlier one, which comes late, changes nothing.
    public mutating func reprieve(_ digests: [Digest], by collection: CollectionID) {
        for digest in digests where condemned[digest]?.by == collection { condemned[digest] = nil }
    }

    public func isCondemned(_ digest: Digest, now: Instant) -> Bool {
        now < unsureUntil || condemned[digest].map { $0.until > now } ?? false
    }

    // MARK: Over a restart

    /// What has to be known after a restart.
    public func promises(at now: Instant) -> CondemnedBlobs {
        CondemnedBlobs(condemned.filter { $0.value.until > now }.mapValues(\.by))
    }

    /// Begins with the promises of the process before. Nobody knows how long it was gone, so each holds for its whole time once more.
    ///
    /// - Parameters:
    ///   - promises: nil: they cannot be read. Then stores wait as if all blobs were condemned.
    ///   - quiet: as long as a change that the process before has asked for may take to happen.
    public mutating func restarted(
        _ promises: CondemnedBlobs?, at now: Instant, quiet: Duration, condemnation: Duration
    ) {
        quietUntil = now + quiet
        guard let promises else {
            unsureUntil = now + condemnation
            return
        }
        for (digest, collection) in promises.collections { condemned[digest] = (collection, now + condemnation) }
    }

    // MARK: On this node's disk

    /// Those that may be deleted: referred to by nothing, not held, and untouched for the whole time of grace.
    public func garbage(
        _ candidates: [(digest: Digest, idle: Duration)], referenced: Set<Digest>, grace: Duration
    ) -> [Digest] {
        candidates.filter { $0.idle >= grace && !referenced.contains($0.digest) && !isHeld($0.digest) }.map(\.digest)
    }
}
