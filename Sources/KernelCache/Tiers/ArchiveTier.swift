public import CacheCore
public import EsperTypes
public import ObjectStore
internal import RaftRuntime
internal import Synchronization

/// Blobs in an object store, each an object `blob/<first two digits>/<digest>` that is created once.
///
/// Nothing here asks whether the bytes are right: a ``GuardedTier`` around it does.
public final class ArchiveTier: BlobTier {
    public let tier = CacheTier.archive
    private let store: any ObjectStore
    private let parallelism: Int
    /// Nil: nobody asks whose it is.
    private let owner: [UInt8]?
    private let isOwned = Atomic<Bool>(false)

    /// - Parameters:
    ///   - owner: the cluster; another one's archive is refused by probes, and before anything is listed or removed.
    ///   - parallelism: objects of one call that are under way at once.
    public init(_ store: any ObjectStore, owner: String? = nil, parallelism: Int = 8) {
        precondition(parallelism > 0, "a call needs at least one object under way, not \(parallelism)")
        self.store = store
        self.parallelism = parallelism
        self.owner = owner.map { Array($0.utf8) }
    }

    /// Shuts the store down.
    public func close() async { await store.shutdown() }

    public func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        let found = try await each(digests) { [store] digest async throws(ObjectStoreError) in
            try await store.get(Self.key(digest), range: nil, deadline: deadline).map { (digest, $0) }
        }
        return Dictionary(found.compactMap(\.self), uniquingKeysWith: { first, _ in first })
    }

    /// What is there already is read before anybody relies on it; a damaged copy gives way.
    public func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        _ = try await each(blobs) { [store] blob async throws(ObjectStoreError) in
            let key = Self.key(blob.digest)
            guard try await store.put(key, blob.bytes, deadline: deadline) == .alreadyThere,
                try await store.get(key, range: nil, deadline: deadline) != blob.bytes
            else { return }
            try await store.delete(key, if: { $0 != blob.bytes }, deadline: deadline)
            guard try await store.put(key, blob.bytes, deadline: deadline) == .alreadyThere else { return }
            throw ObjectStoreError(.conflict, "somebody else writes \(key); try again")
        }
    }

    public func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        let found = try await each(digests) { [store] digest async throws(ObjectStoreError) in
            try await store.head(Self.key(digest), deadline: deadline).map { _ in digest }
        }
        return Set(found.compactMap(\.self))
    }

    /// By the time of their creation: an archive does not know of uses.
    public func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs {
        try await checkOwner(deadline)
        do throws(ObjectStoreError) {
            let listed = try await store.list(
                prefix: Self.prefix, after: last.map(Self.key), limit: limit, deadline: deadline)
            let newest = NodeClock.wallNanoseconds() &- UInt64(max(0, idle.nanoseconds))
            let found = listed.compactMap { object in Self.digest(object.key).map { (object, $0) } }
            return IdleBlobs(
                found.filter { object, _ in object.created.map { $0 <= newest } ?? false }
                    .map { BlobReference(digest: $1, size: UInt32(clamping: $0.size)) },
                next: listed.count < limit ? nil : found.last?.1)
        } catch {
            throw failure(error)
        }
    }

    public func remove(
        _ digests: [Digest], idleFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await checkOwner(deadline)
        try await delete(digests, deadline: deadline)
        return Set(digests)
    }

    /// Whoever throws blobs away must know all names that refer to them: the first cluster that asks notes that the archive is its own.
    private func checkOwner(_ deadline: Instant) async throws(TierFailure) {
        guard let owner, !isOwned.load(ordering: .relaxed) else { return }
        guard let key = ObjectKey("owner") else { preconditionFailure("a word is a key") }
        let known: [UInt8]?
        do throws(ObjectStoreError) {
            let isThere = try await store.get(key, range: nil, deadline: deadline) != nil
            if !isThere { _ = try await store.put(key, owner, deadline: deadline) }
            known = try await store.get(key, range: nil, deadline: deadline)
        } catch {
            throw failure(error)
        }
        guard known == owner else {
            throw TierFailure(
                tier, .refused,
                "the archive belongs to another cluster; give this one a directory or prefix of its own")
        }
        isOwned.store(true, ordering: .relaxed)
    }

    public func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        _ = try await each(digests) { [store] digest async throws(ObjectStoreError) in
            try await store.delete(Self.key(digest), deadline: deadline)
        }
    }

    /// Reads each of them once more and deletes those that are damaged indeed, so that the next put, which never replaces
    /// anything, can create them anew. What is right, or becomes so meanwhile, stays.
    public func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        _ = try await each(digests) { [store] digest async throws(ObjectStoreError) in
            try await store.delete(Self.key(digest), if: { Digest(hashing: $0) != digest }, deadline: deadline)
        }
    }

    public func probe(deadline: Instant) async throws(TierFailure) {
        do throws(ObjectStoreError) {
            try await store.probe(deadline: deadline)
        } catch {
            throw failure(error)
        }
        try await checkOwner(deadline)
    }

    private static let prefix = "blob/"

    private static func digest(_ key: ObjectKey) -> Digest? {
        let text = key.description
        guard let digest = text.lastIndex(of: "/").flatMap({ Digest(String(text[text.index(after: $0)...])) }),
            Self.key(digest) == key
        else { return nil }
        return digest
    }

    /// Where the blob is in the store.
    public static func key(_ digest: Digest) -> ObjectKey {
        let digits = digest.description
        guard let key = ObjectKey("\(prefix)\(digits.prefix(2))/\(digits)") else {
            preconditionFailure("digits make a key: \(digits)")
        }
        return key
    }

    /// Does it for all of them, some at once. The first failure ends the call.
    private func each<Item: Sendable, Value: Sendable>(
        _ items: [Item], _ body: @escaping @Sendable (Item) async throws(ObjectStoreError) -> Value
    ) async throws(TierFailure) -> [Value] {
        let result = await withTaskGroup(of: Result<Value, ObjectStoreError>.self) { group in
            var values: [Value] = []
            var waiting = items[...]
            for item in waiting.prefix(parallelism) {
                group.addTask { await Self.result { () throws(ObjectStoreError) in try await body(item) } }
            }
            waiting = waiting.dropFirst(parallelism)
            for await result in group {
                switch result {
                case .success(let value): values.append(value)
                case .failure(let error):
                    group.cancelAll()
                    return Result<[Value], ObjectStoreError>.failure(error)
                }
                if let item = waiting.popFirst() {
                    group.addTask { await Self.result { () throws(ObjectStoreError) in try await body(item) } }
                }
            }
            return .success(values)
        }
        do throws(ObjectStoreError) {
            return try result.get()
        } catch {
            throw failure(error)
        }
    }

    private static func result<Value>(
        _ body: () async throws(ObjectStoreError) -> Value
    ) async -> Result<Value, ObjectStoreError> {
        do throws(ObjectStoreError) {
            return .success(try await body())
        } catch {
            return .failure(error)
        }
    }

    private func failure(_ error: ObjectStoreError) -> TierFailure {
        if Task.isCancelled { return TierFailure(tier, .cancelled, "the caller was cancelled") }
        let code: TierFailure.Code =
            switch error.code {
            case .unavailable, .conflict, .damaged: .unavailable
            case .timedOut: .timedOut
            case .refused, .clockSkew, .missing, .redirected: .refused
            case .full: .full
            case .nonsense: .nonsense
            case .invalid: .invalid
            case .stopped: .stopped
            }
        return TierFailure(tier, code, error.message)
    }
}
