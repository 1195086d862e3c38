public import CacheCore
public import EsperTypes

/// An artifact's name within its tenant.
public struct ArtifactName: Hashable, Sendable, CustomStringConvertible {
    public static let defaultTenant = "default"

    public var tenant: String
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8], tenant: String = defaultTenant) {
        self.tenant = tenant
        self.bytes = bytes
    }

    public init(_ text: String, tenant: String = defaultTenant) { self.init([UInt8](text.utf8), tenant: tenant) }

    public var description: String { "\(tenant)/\(String(decoding: bytes, as: UTF8.self))" }
}

/// One file of an artifact that is to be stored.
public struct ArtifactFile: Sendable {
    public enum Content: Sendable {
        case bytes([UInt8])
        /// The file at this path, which must not change while it is stored.
        case file(String)
    }

    /// A relative path without `.` and `..`; empty for the one file of a plain value.
    public var name: String
    public var content: Content

    public init(name: String, _ content: Content) {
        self.name = name
        self.content = content
    }
}

/// When a store may replace what is there.
public enum StoreCondition: Hashable, Sendable {
    /// As the kind has it: an action that is bound stays as it is; an alias is replaced.
    case byKind
    /// Only when the name has this version.
    case version(UInt64)
    /// Only when there is nothing.
    case absent
}

/// How an artifact is stored.
public struct StoreOptions: Sendable {
    public var kind = Binding.Kind.action
    public var mode = StoreMode.durable
    public var condition = StoreCondition.byKind
    /// What making it took: what eviction by cost goes by.
    public var cost: Duration?
    /// The manifest of the graph that it belongs to.
    public var lineage: Digest?
    /// From when it is bound; nil: for ever.
    public var lifetime: Duration?
    /// By which it was made.
    public var token: MakeToken?
    /// How long it may take in all; nil: the client's time-out, and a second for each MiB.
    public var timeout: Duration?

    public init() {}
}

/// What became of a store.
public struct StoreAnswer: Hashable, Sendable {
    /// What the name stands for now.
    public let binding: Binding
    /// False: an action that somebody else stored first stays as it was.
    public let isStored: Bool
    /// The tiers that hold the bytes by now.
    public let tiers: TierSet
}

/// How an artifact is looked for.
public struct RetrieveOptions: Sendable {
    /// Answer also without a lease and a quorum; ``ArtifactHeader/isStale`` tells.
    public var allowsStale = false
    /// Only these files; empty: all.
    public var files: [String] = []
    /// A manifest that the caller has: while the name stands for it, no bytes come.
    public var knownManifest: Digest?
    /// How long may pass until the answer begins, and between any two parts of it; nil: the client's time-out.
    public var timeout: Duration?

    public init() {}
}

/// An artifact without its bytes.
public struct ArtifactHeader: Hashable, Sendable {
    public let binding: Binding
    /// Checked against the binding's digest.
    public let manifest: Manifest
    /// The farthest place that the node had to bring any of it from; of a large one, of its manifest.
    public let tier: CacheTier?
    /// Not confirmed to be the newest; only when that was asked for.
    public let isStale: Bool
}

/// An artifact with its bytes, all of them checked.
public struct Artifact: Sendable {
    public let header: ArtifactHeader
    /// In the order of the manifest; nil: not asked for.
    public let contents: [[UInt8]?]

    public var binding: Binding { header.binding }

    /// The content of the only file.
    public var value: [UInt8]? { contents.count == 1 ? contents[0] : nil }

    /// The content of a file.
    public subscript(name: String) -> [UInt8]? {
        header.manifest.files.firstIndex { $0.name == name }.flatMap { contents[$0] }
    }
}

/// The answer to a look-up.
public enum Retrieved<Found: Sendable>: Sendable {
    case found(Found)
    /// There is nothing, or what there was is quarantined, as its binding says.
    case absent(Binding?)
    /// The name still stands for the manifest that the caller has.
    case notModified(Binding)
}

/// The right to make what is missing.
public struct MakeToken: Hashable, Sendable {
    public let number: UInt64
    /// How long the others wait, unless it is renewed.
    public let lifetime: Duration
}

/// A subject of an eviction.
public enum EvictSubject: Hashable, Sendable {
    /// The copies in the memory of the node that is asked.
    case copy
    /// The copies in one tier: memory and peer are the memory and the disk of the node that is asked, other nodes
    /// keep theirs. From memory they always go; else only when all of them are left elsewhere: in the catalog or the
    /// archive, for Redis also on a disk, for the catalog in the archive, which is read. From the archive nothing goes.
    case tier(CacheTier)
    /// The name itself; with a version: only while it has that.
    case name(version: UInt64? = nil)
}

public struct EvictAnswer: Hashable, Sendable {
    /// What was bound before, when the name was evicted; nil: nothing was.
    public let previous: Binding?
    public let copies: UInt64
    public let bytes: UInt64
}

/// Names in order of their bytes.
public struct ArtifactList: Sendable {
    public let entries: [(name: ArtifactName, binding: Binding)]
    /// The limit cut the list: go on behind its last name.
    public let more: Bool
}

/// What to take into memory before it is asked for.
public enum WarmSelection: Sendable {
    /// What is worth most by use and cost of all that any node has in memory, at most so many blobs.
    case top(Int)
    case names([ArtifactName])
    /// Everything that belongs to this graph.
    case lineage(Digest)
}

public struct WarmAnswer: Hashable, Sendable {
    /// Brought into memory now.
    public let artifacts: UInt64
    public let blobs: UInt64
    public let bytes: UInt64
    /// There already.
    public let present: UInt64
    /// Found in no tier, or not in time.
    public let missing: UInt64
    /// Of everything that was ever warmed there: bytes, and reads that found them.
    public let warmedBytes: UInt64
    public let warmedHits: UInt64
}

public struct SyncAnswer: Hashable, Sendable {
    public let shards: UInt64
    /// Shards whose holders had the same all along.
    public let equal: UInt64
    /// Blobs that one holder had and another lacked, or that a tier lacked which a name counts on.
    public let differences: UInt64
    public let repairedBlobs: UInt64
    public let repairedBytes: UInt64
    /// Holders, and tiers, that did not answer.
    public let unreachable: [String]
    /// Blobs that a tier should have and that were found nowhere.
    public let lost: UInt64
    /// Rows of names in the catalog that were wrong or missing; and those of them that were written anew.
    public let wrongRows: UInt64
    public let repairedRows: UInt64
}
