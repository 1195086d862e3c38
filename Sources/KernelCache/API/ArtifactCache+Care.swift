public import CacheCore
public import EsperTypes

/// What keeps a cache warm, whole and understood. The requests and replies of ``ArtifactCache``'s `warm`, `sync`, `stat`,
/// `renew` and `reportFailure`.
public struct WarmRequest: Sendable {
    public enum Subject: Sendable {
        /// What is worth most (uses × cost) of all that any node has in memory, up to this many blobs.
        case hottest(count: Int)
        case names([[UInt8]])
        /// Everything that belongs to this graph.
        case lineage(Digest)
    }

    public var subject: Subject
    /// The most that is brought into memory.
    public var maximumBytes: UInt64
    /// The most in a second; nil: the node's setting.
    public var bytesPerSecond: UInt64?
    public var principal: String
    public var deadline: Instant

    public init(
        subject: Subject, maximumBytes: UInt64 = .max, bytesPerSecond: UInt64? = nil, principal: String,
        deadline: Instant
    ) {
        self.subject = subject
        self.maximumBytes = maximumBytes
        self.bytesPerSecond = bytesPerSecond
        self.principal = principal
        self.deadline = deadline
    }
}

public struct WarmReply: Sendable {
    /// Brought into this node's memory.
    public var artifacts: Int
    public var blobs: Int
    public var bytes: UInt64
    /// There already.
    public var present: Int
    /// Found in no tier, or not in time.
    public var missing: Int
    /// Of everything that was ever warmed here: bytes, and reads that found them.
    public var warmedBytes: UInt64
    public var warmedHits: UInt64

    public init(
        artifacts: Int = 0, blobs: Int = 0, bytes: UInt64 = 0, present: Int = 0, missing: Int = 0,
        warmedBytes: UInt64 = 0, warmedHits: UInt64 = 0
    ) {
        self.artifacts = artifacts
        self.blobs = blobs
        self.bytes = bytes
        self.present = present
        self.missing = missing
        self.warmedBytes = warmedBytes
        self.warmedHits = warmedHits
    }
}

/// Compares what the holders of each shard have, and copies what one of them lacks; without a shard, the catalog's rows of names too.
public struct SyncRequest: Sendable {
    /// Nil: all that this node holds.
    public var shard: ShardID?
    /// Only compare.
    public var isDryRun: Bool
    public var principal: String
    public var deadline: Instant

    public init(shard: ShardID? = nil, isDryRun: Bool = false, principal: String, deadline: Instant) {
        self.shard = shard
        self.isDryRun = isDryRun
        self.principal = principal
        self.deadline = deadline
    }
}

public struct SyncReply: Sendable {
    public var shards: Int
    /// Shards whose holders had the same all along.
    public var equal: Int
    /// Blobs that one holder had and another lacked, or that a tier lacked which a name counts on.
    public var differences: Int
    public var repairedBlobs: Int
    public var repairedBytes: UInt64
    /// Holders, and tiers, that did not answer.
    public var unreachable: [String]
    /// Blobs that a tier should have and that were found nowhere.
    public var lost = 0
    /// Rows of the catalog that told something else of a name than what is bound, or were missing; and those of them that were written anew.
    public var wrongRows = 0
    public var repairedRows = 0

    public init(
        shards: Int = 0, equal: Int = 0, differences: Int = 0, repairedBlobs: Int = 0, repairedBytes: UInt64 = 0,
        unreachable: [String] = []
    ) {
        self.shards = shards
        self.equal = equal
        self.differences = differences
        self.repairedBlobs = repairedBlobs
        self.repairedBytes = repairedBytes
        self.unreachable = unreachable
    }
}

public struct StatRequest: Sendable {
    /// Nil: this node's cache as a whole.
    public var name: [UInt8]?
    public var principal: String
    public var deadline: Instant

    public init(name: [UInt8]? = nil, principal: String, deadline: Instant) {
        self.name = name
        self.principal = principal
        self.deadline = deadline
    }
}

public struct StatReply: Sendable {
    public var statistics: CacheStatistics
    /// With a name that is bound.
    public var artifact: ArtifactStatus?

    public init(statistics: CacheStatistics, artifact: ArtifactStatus? = nil) {
        self.statistics = statistics
        self.artifact = artifact
    }
}

/// One artifact and where its bytes are.
public struct ArtifactStatus: Sendable {
    public var binding: Binding
    /// Nil: no tier has it.
    public var manifest: Manifest?
    public var blobs: Int
    /// How many of the blobs each tier was found to have.
    public var held: [CacheTier: Int]

    public init(binding: Binding, manifest: Manifest?, blobs: Int, held: [CacheTier: Int]) {
        self.binding = binding
        self.manifest = manifest
        self.blobs = blobs
        self.held = held
    }
}

/// A compile that failed in a way that the next attempt will too; answered for about a minute to whoever wants to make the same.
public struct FailureReport: Sendable {
    public var name: [UInt8]
    public var token: CompileToken
    public var message: String
    /// False: gives the token up, and the next one may try.
    public var isDeterministic: Bool
    public var principal: String
    public var deadline: Instant

    public init(
        name: [UInt8], token: CompileToken, message: String, isDeterministic: Bool, principal: String, deadline: Instant
    ) {
        self.name = name
        self.token = token
        self.message = message
        self.isDeterministic = isDeterministic
        self.principal = principal
        self.deadline = deadline
    }
}
