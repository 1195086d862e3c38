public import EsperTypes

/// What a name stands for, as agreed by the cluster.
public struct Binding: Hashable, Sendable {
    public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        /// The result of an action: the first writer wins, and it never changes while it lives.
        case action
        /// The best or newest of something: replaced by compare-and-set on the version.
        case alias
    }

    public enum State: UInt8, Hashable, Sendable, CaseIterable {
        case live
        /// Evicted by name; kept until every projection has passed its version.
        case tombstone
        /// Its closure could not be found in any tier; whoever needs it makes it again.
        case quarantined
    }

    public var kind: Kind
    public var state: State
    /// SHA-256 of the encoded ``Manifest``.
    public var manifest: Digest
    /// The log index of the entry that wrote it last: grows with every change of the name, and never repeats for it.
    public var version: LogIndex
    /// What making it took, for eviction by cost.
    public var costMilliseconds: UInt32
    /// Bytes of all files.
    public var size: UInt64
    /// The tiers that had acknowledged the closure when the name was bound.
    public var tiers: TierSet
    /// The manifest of the graph that this belongs to, or nil.
    public var lineage: Digest?
    /// On the replicated clock, nanoseconds since 1970; 0: never.
    public var expires: UInt64

    public init(
        kind: Kind, state: State = .live, manifest: Digest, version: LogIndex, costMilliseconds: UInt32 = 0,
        size: UInt64, tiers: TierSet, lineage: Digest? = nil, expires: UInt64 = 0
    ) {
        self.kind = kind
        self.state = state
        self.manifest = manifest
        self.version = version
        self.costMilliseconds = costMilliseconds
        self.size = size
        self.tiers = tiers
        self.lineage = lineage
        self.expires = expires
    }
}

/// The places where bytes can be, from the nearest to the farthest.
public enum CacheTier: UInt8, Hashable, Sendable, CaseIterable, Comparable {
    /// This node's memory.
    case memory
    /// Memory, or disk, of the owner or a replica.
    case peer
    case redis
    /// PostgreSQL.
    case catalog
    /// S3 or a directory.
    case archive

    public static func < (left: CacheTier, right: CacheTier) -> Bool { left.rawValue < right.rawValue }

    /// A stable word.
    public var name: String {
        switch self {
        case .memory: "memory"
        case .peer: "peer"
        case .redis: "redis"
        case .catalog: "catalog"
        case .archive: "archive"
        }
    }
}

public struct TierSet: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public init(_ tier: CacheTier) { rawValue = 1 << tier.rawValue }

    /// From the nearest to the farthest.
    public var tiers: [CacheTier] { CacheTier.allCases.filter { contains(TierSet($0)) } }
}

/// What a store waits for before it is acknowledged.
public enum StoreMode: UInt8, Hashable, Sendable, CaseIterable {
    /// On two nodes (one, in a cluster of one), so that it outlives their processes: written to their disks, not synced.
    case memory
    /// In PostgreSQL, in the archive, or synced on the disks of two nodes (of one, in a cluster of one).
    case durable
    /// In the archive.
    case archived

    /// A stable word.
    public var name: String {
        switch self {
        case .memory: "memory"
        case .durable: "durable"
        case .archived: "archived"
        }
    }
}
