public import CacheCore
public import EsperTypes

/// The cache as front doors see it, whichever protocol they speak. Every method may be called from any thread, ends by its
/// deadline, and ends with a value or a ``CacheFailure``.
public protocol ArtifactCache: AnyObject, Sendable {
    /// What this node can answer by itself, at once and linearizably: its read lease holds, nothing about the name is on its
    /// way, and the bytes are in its memory or there is nothing to have. Nil: ask ``retrieve(_:)``.
    ///
    /// - Parameter turn: what the caller asks for in one go; to be ended with ``end(_:)``.
    func hit(_ name: [UInt8], in turn: inout HitTurn) -> CacheHit?

    /// Counts what the turn found, and lets it begin anew.
    func end(_ turn: inout HitTurn)

    func retrieve(_ request: RetrieveRequest) async throws(CacheFailure) -> RetrieveReply

    /// The bytes of one blob, checked against its digest, from the nearest tier that has it. Digests are served without a
    /// lease or a quorum: bytes under a digest are never stale.
    func blob(_ reference: BlobReference, deadline: Instant) async throws(CacheFailure) -> CachedBlob

    /// Those that are not known to be held as the mode asks: what a writer must send before it stores. For mode `memory` as for
    /// `durable`, since what only memories hold may be gone by then.
    func missing(
        _ blobs: [BlobReference], mode: StoreMode, deadline: Instant
    ) async throws(CacheFailure) -> [BlobReference]

    /// Takes one blob of an artifact that will be stored, and gives it to its owner and replica.
    ///
    /// - Parameter bytes: 1 ... ``CacheLimits/blobBytes``.
    func add(_ bytes: [UInt8], mode: StoreMode, deadline: Instant) async throws(CacheFailure) -> BlobReference

    /// Binds a name to a manifest, once every blob of it is held as the mode asks.
    func store(_ request: StoreRequest) async throws(CacheFailure) -> StoreReply

    func evict(_ request: EvictRequest) async throws(CacheFailure) -> EvictReply

    /// Names in order of their bytes.
    func list(_ request: ListRequest) async throws(CacheFailure) -> ListReply

    /// Brings artifacts into this node's memory, at a rate that leaves reads their share.
    func warm(_ request: WarmRequest) async throws(CacheFailure) -> WarmReply

    func sync(_ request: SyncRequest) async throws(CacheFailure) -> SyncReply

    func stat(_ request: StatRequest) async throws(CacheFailure) -> StatReply

    /// Which node holds which shard, as this node has applied it; at once.
    func shardMap() -> ShardMapReply

    /// Moves shards, stops moving them, or tells how far the moves are.
    func rebalance(_ request: RebalanceRequest) async throws(CacheFailure) -> RebalanceReply

    /// Keeps the right to make something, for as long again as it was given for.
    ///
    /// - Throws: ``CacheFailure/Code/conflict`` when it has run out and somebody else has it.
    func renew(
        _ token: CompileToken, name: [UInt8], principal: String, deadline: Instant
    ) async throws(CacheFailure) -> CompileToken

    /// The holder of a token could not make what it was given for.
    func reportFailure(_ report: FailureReport) async throws(CacheFailure)
}

extension ArtifactCache {
    /// A turn of one question.
    public func hit(_ name: [UInt8]) -> CacheHit? {
        var turn = HitTurn()
        defer { end(&turn) }
        return hit(name, in: &turn)
    }

    // For caches of tests, which serve some of the calls.
    public func warm(_ request: WarmRequest) async throws(CacheFailure) -> WarmReply { throw .unserved }
    public func sync(_ request: SyncRequest) async throws(CacheFailure) -> SyncReply { throw .unserved }
    public func stat(_ request: StatRequest) async throws(CacheFailure) -> StatReply { throw .unserved }
    public func shardMap() -> ShardMapReply { ShardMapReply(map: nil, names: [:]) }
    public func rebalance(_ request: RebalanceRequest) async throws(CacheFailure) -> RebalanceReply { throw .unserved }
    public func renew(
        _ token: CompileToken, name: [UInt8], principal: String, deadline: Instant
    ) async throws(CacheFailure) -> CompileToken { throw .unserved }
    public func reportFailure(_ report: FailureReport) async throws(CacheFailure) { throw .unserved }
}

extension CacheFailure {
    fileprivate static let unserved = CacheFailure(.disabled, "this cache does not serve the call")
}

/// A local answer.
public enum CacheHit: Sendable {
    /// `value` is the content of the only file, when it is one of at most a blob.
    case found(Binding, value: [UInt8])
    case absent
}

/// Bytes and where they were found.
public struct CachedBlob: Sendable {
    public var bytes: [UInt8]
    public var tier: CacheTier

    public init(bytes: [UInt8], tier: CacheTier) {
        self.bytes = bytes
        self.tier = tier
    }
}

public struct RetrieveRequest: Sendable {
    public var name: [UInt8]
    public var deadline: Instant
    public var principal: String
    /// Answer from what this node has when it has no lease and no quorum; marked in the reply.
    public var allowsStale: Bool
    /// When there is nothing: be told to make it, or wait for whoever was told before. Refused with
    /// ``CacheFailure/Code/makeFailed`` while it is known that making it fails.
    public var wantsToMake: Bool
    /// How long making it takes, as the caller expects; a token lives for twice as long unless it is renewed.
    public var expectedCost: Duration?

    public init(
        name: [UInt8], deadline: Instant, principal: String, allowsStale: Bool = false, wantsToMake: Bool = false,
        expectedCost: Duration? = nil
    ) {
        self.name = name
        self.deadline = deadline
        self.principal = principal
        self.allowsStale = allowsStale
        self.wantsToMake = wantsToMake
        self.expectedCost = expectedCost
    }
}

public struct RetrieveReply: Sendable {
    public enum Result: Sendable {
        /// The manifest was found; its blobs come by ``ArtifactCache/blob(_:deadline:)``.
        case found(Binding, Manifest, tier: CacheTier)
        /// There is nothing under this name, or what there was is quarantined (its binding says so).
        case absent(Binding?)
        /// There is nothing, and the caller is the one who shall make it, by the time given.
        case make(CompileToken)
    }

    public var result: Result
    /// Not confirmed to be the newest; only when it was asked for.
    public var isStale: Bool

    public init(result: Result, isStale: Bool = false) {
        self.result = result
        self.isStale = isStale
    }
}

/// The right to make what is missing; at most one caller of the cluster has it, as long as the shard's owner lives.
public struct CompileToken: Hashable, Sendable {
    public var number: UInt64
    public var lifetime: Duration

    public init(number: UInt64, lifetime: Duration) {
        self.number = number
        self.lifetime = lifetime
    }
}

public struct StoreRequest: Sendable {
    public enum Condition: Hashable, Sendable {
        /// As the kind of the binding has it: an action that is bound stays as it is; an alias is replaced.
        case byKind
        /// Only when the name has this version; nil: only when there is nothing.
        case version(LogIndex?)
    }

    public var name: [UInt8]
    public var kind: Binding.Kind
    public var manifest: Manifest
    public var mode: StoreMode
    public var condition: Condition
    public var costMilliseconds: UInt32
    public var lineage: Digest?
    /// From when it is bound; nil: for ever.
    public var lifetime: Duration?
    /// Makes a repeat of the request have no second effect.
    public var request: CacheRequestName?
    public var principal: String
    public var deadline: Instant

    public init(
        name: [UInt8], kind: Binding.Kind, manifest: Manifest, mode: StoreMode = .durable,
        condition: Condition = .byKind, costMilliseconds: UInt32 = 0, lineage: Digest? = nil,
        lifetime: Duration? = nil, request: CacheRequestName? = nil, principal: String, deadline: Instant
    ) {
        self.name = name
        self.kind = kind
        self.manifest = manifest
        self.mode = mode
        self.condition = condition
        self.costMilliseconds = costMilliseconds
        self.lineage = lineage
        self.lifetime = lifetime
        self.request = request
        self.principal = principal
        self.deadline = deadline
    }
}

/// A request of a registered client.
public struct CacheRequestName: Hashable, Sendable {
    public var client: ClientID
    public var sequence: UInt64
    public var acknowledgedThrough: UInt64

    public init(client: ClientID, sequence: UInt64, acknowledgedThrough: UInt64) {
        self.client = client
        self.sequence = sequence
        self.acknowledgedThrough = acknowledgedThrough
    }
}

public struct StoreReply: Sendable {
    /// What the name stands for now.
    public var binding: Binding
    /// Whether it is what was asked to be stored: an action that somebody else stored first stays.
    public var isStored: Bool
    /// The tiers that hold the closure by now.
    public var tiers: TierSet

    public init(binding: Binding, isStored: Bool, tiers: TierSet) {
        self.binding = binding
        self.isStored = isStored
        self.tiers = tiers
    }
}

public struct EvictRequest: Sendable {
    public enum Subject: Sendable {
        /// This node's copies in memory.
        case copy
        /// The copies in one tier: memory and peer are the memory and the disk of this node, other nodes
        /// keep theirs. From memory they always go; from Redis only when all of them are on a disk, in the catalog or in the
        /// archive; from the disk when the catalog or the archive gives them back whole; from the catalog when the archive
        /// does. From the archive nothing goes.
        case tier(CacheTier)
        /// The name itself: afterwards there is nothing under it. With a version: only while it is that.
        case name(version: LogIndex?)
    }

    public var name: [UInt8]
    public var subject: Subject
    /// Makes a repeat of an eviction of the name have no second effect.
    public var request: CacheRequestName?
    public var principal: String
    public var deadline: Instant

    public init(
        name: [UInt8], subject: Subject, request: CacheRequestName? = nil, principal: String, deadline: Instant
    ) {
        self.name = name
        self.subject = subject
        self.request = request
        self.principal = principal
        self.deadline = deadline
    }
}

public struct EvictReply: Sendable {
    /// What was bound before, when the name was evicted; nil: there was nothing.
    public var previous: Binding?
    /// Of what is left of the name since; nil: there was nothing.
    public var version: LogIndex?
    /// Copies dropped, and their bytes.
    public var copies: Int
    public var bytes: UInt64

    public init(previous: Binding? = nil, version: LogIndex? = nil, copies: Int = 0, bytes: UInt64 = 0) {
        self.previous = previous
        self.version = version
        self.copies = copies
        self.bytes = bytes
    }
}

public struct ListRequest: Sendable {
    public var prefix: [UInt8]
    /// Names above this one.
    public var after: [UInt8]?
    public var limit: Int
    public var deadline: Instant
    /// Who asks: what he may not read is refused.
    public var principal: String

    public init(prefix: [UInt8], after: [UInt8]? = nil, limit: Int, principal: String, deadline: Instant) {
        self.prefix = prefix
        self.after = after
        self.limit = limit
        self.principal = principal
        self.deadline = deadline
    }
}

public struct ListReply: Sendable {
    /// Live ones.
    public var bindings: [(name: [UInt8], binding: Binding)]
    public var more: Bool

    public init(bindings: [(name: [UInt8], binding: Binding)], more: Bool) {
        self.bindings = bindings
        self.more = more
    }
}
