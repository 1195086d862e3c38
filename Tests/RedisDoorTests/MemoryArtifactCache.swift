import CacheCore
import EsperTypes
import KernelCache
import Synchronization

/// A cache of one process: what the door needs, without a cluster.
final class MemoryArtifactCache: ArtifactCache, Sendable {
    private struct State {
        var version: UInt64 = 0
        var bindings: [[UInt8]: (binding: Binding, manifest: Manifest)] = [:]
        var blobs: [Digest: [UInt8]] = [:]
        var failure: CacheFailure?
        var isLocal = true
        var held: [CheckedContinuation<Void, Never>] = []
        var isHolding = false
        var observer: (@Sendable ([UInt8], LogIndex) -> Void)?
        var turns: [[UInt8]?] = []
    }

    private let state = Mutex(State())
    private let wall: @Sendable () -> UInt64

    init(wall: @escaping @Sendable () -> UInt64) { self.wall = wall }

    /// Told of every change.
    func observe(_ observer: @escaping @Sendable ([UInt8], LogIndex) -> Void) {
        state.withLock { $0.observer = observer }
    }

    /// Every call fails so, but ``hit(_:)``, and reads that may be stale when it is worth repeating; nil: as usual.
    func fail(_ failure: CacheFailure?) { state.withLock { $0.failure = failure } }

    /// Whether ``hit(_:)`` knows anything.
    func answerLocally(_ isLocal: Bool) { state.withLock { $0.isLocal = isLocal } }

    /// Keeps calls back until it is told otherwise.
    func hold(_ isHolding: Bool) {
        let held = state.withLock { state in
            state.isHolding = isHolding
            defer { if !isHolding { state.held = [] } }
            return isHolding ? [] : state.held
        }
        for continuation in held { continuation.resume() }
    }

    func binding(_ name: String) -> (binding: Binding, manifest: Manifest)? {
        state.withLock { $0.bindings[Array(name.utf8)] }
    }

    private func gate(allowsStale: Bool = false) async throws(CacheFailure) {
        await withCheckedContinuation { continuation in
            let goesOn = state.withLock { state in
                if state.isHolding { state.held.append(continuation) }
                return !state.isHolding
            }
            if goesOn { continuation.resume() }
        }
        if let failure = state.withLock({ $0.failure }), !(allowsStale && failure.isRetryable) { throw failure }
    }

    private func live(_ name: [UInt8], _ state: State) -> (binding: Binding, manifest: Manifest)? {
        guard let entry = state.bindings[name], entry.binding.expires == 0 || entry.binding.expires > wall() else {
            return nil
        }
        return entry
    }

    /// The names that were asked for by ``hit(_:in:)``, with nil where a turn that had asked for any ended.
    var turns: [[UInt8]?] { state.withLock { $0.turns } }

    func end(_ turn: inout HitTurn) {
        state.withLock { if case .some(.some) = $0.turns.last { $0.turns.append(nil) } }
    }

    func hit(_ name: [UInt8], in turn: inout HitTurn) -> CacheHit? {
        state.withLock { state in
            state.turns.append(name)
            guard state.isLocal else { return nil }
            guard let entry = live(name, state) else { return .absent }
            guard entry.manifest.files.count == 1 else { return nil }
            switch entry.manifest.files[0].content {
            case .inline(let bytes): return .found(entry.binding, value: bytes)
            case .blobs(let blobs):
                guard blobs.count == 1, let bytes = state.blobs[blobs[0].digest] else { return nil }
                return .found(entry.binding, value: bytes)
            }
        }
    }

    func retrieve(_ request: RetrieveRequest) async throws(CacheFailure) -> RetrieveReply {
        try await gate(allowsStale: request.allowsStale)
        return state.withLock { state in
            guard let entry = live(request.name, state) else { return RetrieveReply(result: .absent(nil)) }
            return RetrieveReply(result: .found(entry.binding, entry.manifest, tier: .memory))
        }
    }

    func blob(_ reference: BlobReference, deadline: Instant) async throws(CacheFailure) -> CachedBlob {
        try await gate()
        guard let bytes = state.withLock({ $0.blobs[reference.digest] }) else {
            throw CacheFailure(.bytesLost, "no such blob")
        }
        return CachedBlob(bytes: bytes, tier: .memory)
    }

    func missing(
        _ blobs: [BlobReference], mode: StoreMode, deadline: Instant
    ) async throws(CacheFailure) -> [BlobReference] {
        state.withLock { state in blobs.filter { state.blobs[$0.digest] == nil } }
    }

    func add(_ bytes: [UInt8], mode: StoreMode, deadline: Instant) async throws(CacheFailure) -> BlobReference {
        try await gate()
        return state.withLock { state in
            // Unique is all a name must be here.
            state.version += 1
            let digest = Digest(words: state.version, UInt64(bytes.count), 0, 0)
            state.blobs[digest] = bytes
            return BlobReference(digest: digest, size: UInt32(bytes.count))
        }
    }

    func store(_ request: StoreRequest) async throws(CacheFailure) -> StoreReply {
        try await gate()
        return try state.withLock { state throws(CacheFailure) in
            let current = live(request.name, state)
            if case .version(let version) = request.condition, current?.binding.version != version {
                throw CacheFailure(.conflict, "another version", current: current?.binding)
            }
            if let kept = current?.binding, kept.kind == .action {
                return StoreReply(binding: kept, isStored: false, tiers: kept.tiers)
            }
            state.version += 1
            let binding = Binding(
                kind: request.kind, manifest: Digest(words: state.version, 1, 1, 1),
                version: LogIndex(state.version), costMilliseconds: request.costMilliseconds,
                size: request.manifest.size, tiers: TierSet(.memory),
                expires: request.lifetime.map { wall() + UInt64(max(0, $0.nanoseconds)) } ?? 0)
            state.bindings[request.name] = (binding, request.manifest)
            state.observer?(request.name, binding.version)
            return StoreReply(binding: binding, isStored: true, tiers: binding.tiers)
        }
    }

    func evict(_ request: EvictRequest) async throws(CacheFailure) -> EvictReply {
        try await gate()
        guard case .name(let version) = request.subject else { return EvictReply() }
        return try state.withLock { state throws(CacheFailure) in
            let current = live(request.name, state)
            if let version, current?.binding.version != version {
                throw CacheFailure(.conflict, "another version", current: current?.binding)
            }
            state.bindings[request.name] = nil
            state.version += 1
            if current != nil { state.observer?(request.name, LogIndex(state.version)) }
            return EvictReply(previous: current?.binding, version: current.map { _ in LogIndex(state.version) })
        }
    }

    func list(_ request: ListRequest) async throws(CacheFailure) -> ListReply {
        try await gate()
        return state.withLock { state in
            let names = state.bindings.keys.filter { name in
                name.starts(with: request.prefix) && live(name, state) != nil
                    && (request.after.map { $0.lexicographicallyPrecedes(name) } ?? true)
            }.sorted { $0.lexicographicallyPrecedes($1) }
            return ListReply(
                bindings: names.prefix(request.limit).map { ($0, state.bindings[$0]!.binding) },
                more: names.count > request.limit)
        }
    }
}
