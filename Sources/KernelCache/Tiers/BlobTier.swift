public import CacheCore
public import EsperTypes

/// A place outside this process's memory that keeps blobs by digest. Blobs are immutable: a tier can have them or not, or
/// have damaged ones, but never stale ones.
///
/// Every method may be called from any thread, takes a batch, and ends by its deadline with an answer or a ``TierFailure``.
/// A failure says nothing about what the tier holds: it is never to be remembered as absence. Every method may be repeated.
public protocol BlobTier: Sendable {
    /// What it is in a cache's order of tiers.
    var tier: CacheTier { get }

    /// Those of the digests that the tier has, with their bytes as the tier gives them: unchecked, unless the tier is a
    /// ``GuardedTier``.
    func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]]

    /// Returns when the tier keeps all of them, as durably as it keeps anything. What is there already stays.
    func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure)

    /// Those of the digests that the tier says it has.
    func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest>

    /// As ``has(_:deadline:)``, for a store that will count on them: it is a use of those that are there.
    func keep(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest>

    /// As ``get(_:deadline:)``, but no use of them, and the bytes are unchecked whatever the tier.
    func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]]

    /// What the tier has and, as far as it knows, nobody has used for so long: a part of it, in order of the digests, above the one
    /// given.
    ///
    /// - Throws: ``TierFailure/Code/invalid`` when the tier does not tell what it has.
    func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs

    /// Removes those that, as far as the tier knows, nobody has used for so long.
    ///
    /// - Returns: which those were.
    func remove(_ digests: [Digest], idleFor idle: Duration, deadline: Instant) async throws(TierFailure) -> Set<Digest>

    /// Afterwards the tier has none of them.
    func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure)

    /// Removes those of the digests under which the tier has other bytes, as a reader has found; a right copy that somebody
    /// has put there since stays, if the tier can tell.
    func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure)

    /// Returns when the tier could serve; cheap.
    func probe(deadline: Instant) async throws(TierFailure)

    /// Ends what the tier has open; later calls fail.
    func close() async
}

extension BlobTier {
    public func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await delete(digests, deadline: deadline)
    }

    public func keep(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await has(digests, deadline: deadline)
    }

    public func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await get(digests, deadline: deadline)
    }

    public func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs {
        throw TierFailure(tier, .invalid, "it does not tell what it has")
    }

    public func remove(
        _ digests: [Digest], idleFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await delete(digests, deadline: deadline)
        return Set(digests)
    }

    public func close() async {}
}

/// A page of what a tier has.
public struct IdleBlobs: Hashable, Sendable {
    /// In order.
    public var blobs: [BlobReference]
    /// Where the next page begins, above it; nil: this is the last.
    public var next: Digest?

    public init(_ blobs: [BlobReference] = [], next: Digest? = nil) {
        self.blobs = blobs
        self.next = next
    }
}

/// Bytes with their name.
public struct Blob: Hashable, Sendable {
    public var digest: Digest
    public var bytes: [UInt8]

    public init(digest: Digest, bytes: [UInt8]) {
        self.digest = digest
        self.bytes = bytes
    }
}
