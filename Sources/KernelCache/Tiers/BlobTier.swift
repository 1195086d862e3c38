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

    public func close() async {}
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
