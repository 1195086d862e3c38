public import CacheCore
public import EsperTypes
internal import Synchronization

/// A tier that can be opened only when its place is there, such as a directory on a network: every probe tries, one at a time,
/// until one succeeds. Before that the tier is unavailable.
public final class DeferredTier: BlobTier {
    private enum State {
        case closed(String)
        case opening
        case open(any BlobTier)
        case ended
    }

    public let tier: CacheTier
    private let make: @Sendable () async throws(TierFailure) -> any BlobTier
    private let state: Mutex<State>

    /// - Parameter make: never called twice at once, nor after it has succeeded.
    public init(_ tier: CacheTier, _ make: @escaping @Sendable () async throws(TierFailure) -> any BlobTier) {
        self.tier = tier
        self.make = make
        state = Mutex(.closed("it was not opened yet"))
    }

    public func probe(deadline: Instant) async throws(TierFailure) {
        let mayOpen = state.withLock { state in
            guard case .closed = state else { return false }
            state = .opening
            return true
        }
        if mayOpen { try await open() }
        try await inner().probe(deadline: deadline)
    }

    private func open() async throws(TierFailure) {
        let made: any BlobTier
        do throws(TierFailure) {
            made = try await make()
        } catch {
            state.withLock { state in if case .opening = state { state = .closed(error.message) } }
            throw error
        }
        let isWanted = state.withLock { state in
            guard case .opening = state else { return false }
            state = .open(made)
            return true
        }
        if !isWanted { await made.close() }
    }

    private func inner() throws(TierFailure) -> any BlobTier {
        switch state.withLock({ $0 }) {
        case .open(let tier): return tier
        case .closed(let reason): throw TierFailure(tier, .unavailable, reason)
        case .opening: throw TierFailure(tier, .unavailable, "it is being opened")
        case .ended: throw TierFailure(tier, .stopped, "it was closed")
        }
    }

    public func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await inner().get(digests, deadline: deadline)
    }

    public func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        try await inner().put(blobs, deadline: deadline)
    }

    public func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await inner().has(digests, deadline: deadline)
    }

    public func keep(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await inner().keep(digests, deadline: deadline)
    }

    public func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await inner().peek(digests, deadline: deadline)
    }

    public func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs {
        try await inner().idle(for: idle, after: last, limit: limit, deadline: deadline)
    }

    public func remove(
        _ digests: [Digest], idleFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await inner().remove(digests, idleFor: idle, deadline: deadline)
    }

    public func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await inner().delete(digests, deadline: deadline)
    }

    public func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await inner().discard(damaged: digests, deadline: deadline)
    }

    public func close() async {
        let open: (any BlobTier)? = state.withLock { state in
            defer { state = .ended }
            if case .open(let tier) = state { return tier }
            return nil
        }
        await open?.close()
    }
}
