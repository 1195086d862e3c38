import CacheCore
import Crypto
import EsperTypes
import KernelCache
import Synchronization

/// A cache of one node's memory, which does what the doors' promises need and lets a test look and interfere.
final class MemoryCache: ArtifactCache {
    private struct State {
        var bindings: [[UInt8]: Binding] = [:]
        var manifests: [EsperTypes.Digest: Manifest] = [:]
        var blobs: [EsperTypes.Digest: [UInt8]] = [:]
        var version: UInt64 = 10
        var requests: [CacheRequestName: StoreReply] = [:]
        var evictions: [CacheRequestName: EvictReply] = [:]
        var isEvictReplyLost = false
        var stores = 0
        var failures: [CacheFailure] = []
        var retrieveFailures: [CacheFailure] = []
        var blobReads = 0
        var adds = 0
        var modesAsked: [StoreMode] = []
        var token: UInt64?
        var makers: [CheckedContinuation<Void, Never>] = []
        var reports: [FailureReport] = []
        var renewals = 0
    }

    private let state = Mutex(State())
    /// Asked before each blob is given out.
    let onBlob = Mutex<(@Sendable (Int) async throws(CacheFailure) -> Void)?>(nil)
    let onAdd = Mutex<(@Sendable (Int) async throws(CacheFailure) -> Void)?>(nil)

    var blobReads: Int { state.withLock { $0.blobReads } }
    var adds: Int { state.withLock { $0.adds } }
    /// Of ``missing(_:mode:deadline:)``.
    var modesAsked: [StoreMode] { state.withLock { $0.modesAsked } }
    var stores: Int { state.withLock { $0.stores } }
    var reports: [FailureReport] { state.withLock { $0.reports } }
    var renewals: Int { state.withLock { $0.renewals } }

    /// The next stores fail so, one after the other.
    func fail(_ failures: CacheFailure...) { state.withLock { $0.failures = failures } }

    /// The next retrievals fail so, one after the other.
    func failRetrieves(_ failures: CacheFailure...) { state.withLock { $0.retrieveFailures = failures } }

    static func digest(_ bytes: [UInt8]) -> EsperTypes.Digest {
        EsperTypes.Digest(bytes: Array(SHA256.hash(data: bytes)))!
    }

    /// Puts an artifact of one file there whose blobs are all the same bytes.
    func plant(_ name: String, blob: [UInt8], times: Int) {
        let reference = BlobReference(digest: Self.digest(blob), size: UInt32(blob.count))
        let manifest = Manifest(
            writer: "client/planter",
            files: [.init(name: "", content: .blobs(Array(repeating: reference, count: times)))])
        state.withLock { state in
            state.blobs[reference.digest] = blob
            _ = Self.bind([UInt8](name.utf8), manifest, .action, &state)
        }
    }

    /// From now on every blob is these bytes.
    func corrupt(_ bytes: [UInt8]) { state.withLock { state in state.blobs = state.blobs.mapValues { _ in bytes } } }

    func binding(_ name: String) -> Binding? { state.withLock { $0.bindings[[UInt8](name.utf8)] } }

    private static func bind(
        _ name: [UInt8], _ manifest: Manifest, _ kind: Binding.Kind, _ state: inout State, cost: UInt32 = 0
    ) -> Binding {
        let digest = digest(manifest.encoded())
        state.manifests[digest] = manifest
        state.version += 1
        let binding = Binding(
            kind: kind, manifest: digest, version: LogIndex(state.version), costMilliseconds: cost,
            size: manifest.size, tiers: TierSet(.memory))
        state.bindings[name] = binding
        return binding
    }

    // MARK: ArtifactCache

    func hit(_ name: [UInt8], in turn: inout HitTurn) -> CacheHit? { nil }

    func end(_ turn: inout HitTurn) {}

    func retrieve(_ request: RetrieveRequest) async throws(CacheFailure) -> RetrieveReply {
        if let failure = state.withLock({ $0.retrieveFailures.isEmpty ? nil : $0.retrieveFailures.removeFirst() }) {
            throw failure
        }
        if let found = find(request.name) { return found }
        guard request.wantsToMake else { return RetrieveReply(result: .absent(nil)) }
        let number: UInt64? = state.withLock { state in
            guard state.token == nil else { return nil }
            state.token = 77
            return 77
        }
        if let number {
            return RetrieveReply(result: .make(CompileToken(number: number, lifetime: .milliseconds(300))))
        }
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                guard state.token != nil else { return true }
                state.makers.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
        return find(request.name) ?? RetrieveReply(result: .absent(nil))
    }

    private func find(_ name: [UInt8]) -> RetrieveReply? {
        state.withLock { state in
            guard let binding = state.bindings[name], let manifest = state.manifests[binding.manifest] else {
                return nil
            }
            return RetrieveReply(result: .found(binding, manifest, tier: .memory))
        }
    }

    private func endMaking() {
        let waiting = state.withLock { state in
            state.token = nil
            defer { state.makers = [] }
            return state.makers
        }
        for maker in waiting { maker.resume() }
    }

    func blob(_ reference: BlobReference, deadline: Instant) async throws(CacheFailure) -> CachedBlob {
        let (bytes, number) = state.withLock { state in
            state.blobReads += 1
            return (state.blobs[reference.digest], state.blobReads)
        }
        if let hook = onBlob.withLock({ $0 }) { try await hook(number) }
        guard let bytes else { throw CacheFailure(.bytesLost, "no tier has the blob") }
        return CachedBlob(bytes: bytes, tier: .memory)
    }

    func missing(
        _ blobs: [BlobReference], mode: StoreMode, deadline: Instant
    ) async throws(CacheFailure) -> [BlobReference] {
        state.withLock { state in
            state.modesAsked.append(mode)
            return blobs.filter { state.blobs[$0.digest] == nil }
        }
    }

    func add(_ bytes: [UInt8], mode: StoreMode, deadline: Instant) async throws(CacheFailure) -> BlobReference {
        let digest = Self.digest(bytes)
        let number = state.withLock { state in
            state.blobs[digest] = bytes
            state.adds += 1
            return state.adds
        }
        if let hook = onAdd.withLock({ $0 }) { try await hook(number) }
        return BlobReference(digest: digest, size: UInt32(bytes.count))
    }

    func store(_ request: KernelCache.StoreRequest) async throws(CacheFailure) -> StoreReply {
        let result: Result<StoreReply, CacheFailure> = state.withLock { state in
            state.stores += 1
            if let id = request.request, let reply = state.requests[id] { return .success(reply) }
            if !state.failures.isEmpty {
                let failure = state.failures.removeFirst()
                // Applied, though its caller does not hear of it.
                if failure.outcome == .unknown { apply(request, &state) }
                return .failure(failure)
            }
            guard request.manifest.blobs.allSatisfy({ state.blobs[$0.digest] != nil }) else {
                return .failure(CacheFailure(.closureIncomplete, "a blob is held by nobody"))
            }
            let old = state.bindings[request.name]
            if case .version(let version) = request.condition, version != old?.version {
                return .failure(CacheFailure(.conflict, "another version", current: old))
            }
            return .success(apply(request, &state))
        }
        let reply = try result.get()
        endMaking()
        return reply
    }

    @discardableResult
    private func apply(_ request: KernelCache.StoreRequest, _ state: inout State) -> StoreReply {
        let reply: StoreReply
        if let old = state.bindings[request.name], request.kind == .action, request.condition == .byKind {
            reply = StoreReply(
                binding: old, isStored: old.manifest == Self.digest(request.manifest.encoded()), tiers: TierSet(.memory)
            )
        } else {
            let binding = Self.bind(
                request.name, request.manifest, request.kind, &state, cost: request.costMilliseconds)
            reply = StoreReply(binding: binding, isStored: true, tiers: TierSet(.memory))
        }
        if let id = request.request { state.requests[id] = reply }
        return reply
    }

    func evict(_ request: KernelCache.EvictRequest) async throws(CacheFailure) -> EvictReply {
        guard case .name(let version) = request.subject else { return EvictReply(copies: 1, bytes: 3) }
        let result: Result<EvictReply, CacheFailure> = state.withLock { state in
            if let id = request.request, let reply = state.evictions[id] { return .success(reply) }
            let binding = state.bindings[request.name]
            if let version, version != binding?.version {
                return .failure(CacheFailure(.conflict, "another version", current: binding))
            }
            state.bindings[request.name] = nil
            let reply = EvictReply(previous: binding)
            if let id = request.request { state.evictions[id] = reply }
            guard state.isEvictReplyLost else { return .success(reply) }
            state.isEvictReplyLost = false
            // Somebody stores it anew before it is asked for again.
            if let binding { state.bindings[request.name] = binding }
            return .failure(CacheFailure(.timedOut, "who knows", outcome: .unknown))
        }
        return try result.get()
    }

    /// The next eviction is done, but nobody hears of it, and what it evicts is stored again at once.
    func loseEvictReply() { state.withLock { $0.isEvictReplyLost = true } }

    func list(_ request: ListRequest) async throws(CacheFailure) -> ListReply {
        let all = state.withLock { state in
            state.bindings.filter { $0.key.starts(with: request.prefix) }
                .sorted { $0.key.lexicographicallyPrecedes($1.key) }
                .filter { entry in request.after.map { $0.lexicographicallyPrecedes(entry.key) } ?? true }
        }
        return ListReply(
            bindings: all.prefix(request.limit).map { ($0.key, $0.value) }, more: all.count > request.limit)
    }

    func warm(_ request: KernelCache.WarmRequest) async throws(CacheFailure) -> WarmReply {
        guard case .names(let names) = request.subject else { return WarmReply() }
        let found = state.withLock { state in names.count { state.bindings[$0] != nil } }
        return WarmReply(artifacts: found, missing: names.count - found)
    }

    func sync(_ request: KernelCache.SyncRequest) async throws(CacheFailure) -> SyncReply {
        SyncReply(shards: request.shard == nil ? 1024 : 1, equal: 1)
    }

    /// Of one node that has everything.
    private static let map: ShardMap? = {
        var map: ShardMap?
        let placements = Array(repeating: Placement(owner: NodeID(1)), count: ShardID.count)
        _ = ShardMap.apply(.found(hosts: [.init(id: NodeID(1))], placements: placements, copies: 1), to: &map)
        return map
    }()

    func shardMap() -> ShardMapReply { ShardMapReply(map: Self.map, names: [NodeID(1): "memory"]) }

    func rebalance(_ request: KernelCache.RebalanceRequest) async throws(CacheFailure) -> RebalanceReply {
        var reply = RebalanceReply()
        reply.epoch = MapEpoch(1)
        if case .throttle(let change) = request.action, let rate = change.bytesPerSecond {
            reply.throttle.bytesPerSecond = rate
        }
        reply.moves = [
            .init(
                shard: ShardID(7)!, id: nil, step: .stable, reason: .balance, from: ["memory"], to: ["other"],
                estimatedBytes: 9)
        ]
        return reply
    }

    func stat(_ request: KernelCache.StatRequest) async throws(CacheFailure) -> StatReply {
        var statistics = CacheStatistics()
        statistics.node = "memory"
        statistics.stores = UInt64(stores)
        statistics.hits[.memory] = CacheStatistics.Reads()
        guard let name = request.name, case .found(let binding, let manifest, _)? = find(name)?.result else {
            return StatReply(statistics: statistics)
        }
        return StatReply(
            statistics: statistics,
            artifact: ArtifactStatus(
                binding: binding, manifest: manifest, blobs: manifest.blobs.count,
                held: [.memory: manifest.blobs.count]))
    }

    func renew(
        _ token: CompileToken, name: [UInt8], principal: String, deadline: Instant
    ) async throws(CacheFailure) -> CompileToken {
        let isHeld = state.withLock { state in
            state.renewals += 1
            return state.token == token.number
        }
        guard isHeld else { throw CacheFailure(.conflict, "somebody else has it") }
        return CompileToken(number: token.number, lifetime: .milliseconds(300))
    }

    func reportFailure(_ report: FailureReport) async throws(CacheFailure) {
        state.withLock { $0.reports.append(report) }
        endMaking()
    }
}
