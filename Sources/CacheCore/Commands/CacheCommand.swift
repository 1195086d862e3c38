public import EsperTypes

/// A change of what names stand for. Everything here is decided where it is applied, by the state alone.
///
/// A full name is `TENANT/REST` in bytes. What is bound, evicted or quarantined gets the log index of its entry as version.
public enum CacheCommand: Hashable, Sendable {
    /// Up to ``CacheLimits/changesPerCommand`` changes of as many different names, at once: no reader sees some of them
    /// without the others. Each has a result of its own, and none depends on another.
    case change([CacheChange])
    /// Ends bindings whose time is over on the replicated clock, as far as they still have the versions given; the others
    /// stay. Proposed by the leader; harmless from anyone.
    case expire([CacheNameVersion])
    /// Tells of tiers that hold the closure by now. Bindings that have another version by now stay; no version changes.
    case noteTiers([CacheTierNote])
    /// Forgets tombstones up to and with a version, at most ``CacheLimits/forgottenPerCommand`` of them, and none whose
    /// eviction the catalog has not taken yet.
    case forgetTombstones(through: LogIndex)
    /// Changes where blobs belong.
    case map(MapCommand)

    public static func bind(_ binds: [CacheBind]) -> CacheCommand { .change(binds.map(CacheChange.bind)) }

    /// - Parameter version: evict only what has this one; nil: whatever there is.
    public static func evict(_ name: [UInt8], version: LogIndex? = nil) -> CacheCommand {
        .change([.evict(name, version: version)])
    }

    /// - Parameter version: of the binding whose closure is lost; one that was made since then stays.
    public static func quarantine(_ name: [UInt8], version: LogIndex) -> CacheCommand {
        .change([.quarantine(name, version: version)])
    }

    /// The names that readers may see changed by this: what a node that answers by itself must not tell until the outcome
    /// is known.
    public var changedNames: [[UInt8]] {
        switch self {
        case .change(let changes): changes.map(\.name)
        case .expire(let expired): expired.map(\.name)
        case .noteTiers(let notes): notes.map(\.name)
        case .forgetTombstones, .map: []
        }
    }
}

public enum CacheChange: Hashable, Sendable {
    case bind(CacheBind)
    /// Leaves a tombstone; afterwards there is nothing under the name.
    case evict([UInt8], version: LogIndex?)
    /// Marks a binding as one whose closure no tier has, if it still has the version.
    case quarantine([UInt8], version: LogIndex)

    public var name: [UInt8] {
        switch self {
        case .bind(let bind): bind.name
        case .evict(let name, _), .quarantine(let name, _): name
        }
    }
}

/// What a name shall stand for.
public struct CacheBind: Hashable, Sendable {
    public enum Condition: Hashable, Sendable {
        /// As the kind has it: an action that is bound stays as it is; an alias is replaced.
        case byKind
        /// Only when the name has this version; nil: only when there is nothing, or what there is is quarantined. An action
        /// stays as it is all the same.
        case version(LogIndex?)
    }

    /// On the replicated clock.
    public enum Expiry: Hashable, Sendable {
        case never
        /// From when it is bound; at most ``CacheLimits/maximumLifetime``.
        case after(Duration)
        /// In nanoseconds since 1970, above 0; what is past by then is bound and reads as absent.
        case at(UInt64)
    }

    public var name: [UInt8]
    public var kind: Binding.Kind
    /// SHA-256 of the encoded ``Manifest``, whose closure the mode's tiers hold already.
    public var manifest: Digest
    /// Bytes of all files.
    public var size: UInt64
    public var costMilliseconds: UInt32
    /// What it was stored as: anything but `memory` is refused while the catalog is too far behind.
    public var mode: StoreMode
    /// Those that have acknowledged the closure.
    public var tiers: TierSet
    public var lineage: Digest?
    public var expiry: Expiry
    public var condition: Condition

    public init(
        name: [UInt8], kind: Binding.Kind, manifest: Digest, size: UInt64, costMilliseconds: UInt32 = 0,
        mode: StoreMode = .durable, tiers: TierSet, lineage: Digest? = nil, expiry: Expiry = .never,
        condition: Condition = .byKind
    ) {
        self.name = name
        self.kind = kind
        self.manifest = manifest
        self.size = size
        self.costMilliseconds = costMilliseconds
        self.mode = mode
        self.tiers = tiers
        self.lineage = lineage
        self.expiry = expiry
        self.condition = condition
    }
}

public struct CacheNameVersion: Hashable, Sendable {
    public var name: [UInt8]
    public var version: LogIndex

    public init(_ name: [UInt8], _ version: LogIndex) {
        self.name = name
        self.version = version
    }
}

public struct CacheTierNote: Hashable, Sendable {
    public var name: [UInt8]
    public var version: LogIndex
    /// Added to those that are known.
    public var tiers: TierSet

    public init(_ name: [UInt8], _ version: LogIndex, _ tiers: TierSet) {
        self.name = name
        self.version = version
        self.tiers = tiers
    }
}

/// What a ``CacheCommand`` did.
public enum CacheResult: Hashable, Sendable {
    /// One for each change, in order.
    case changed([CacheChangeResult])
    /// How many bindings ended.
    case expired(count: Int)
    /// How many bindings still had their versions.
    case tiersNoted(count: Int)
    /// - Parameter more: some that may be forgotten are left.
    case tombstonesForgotten(count: Int, more: Bool)
    case map(MapReply)
}

public enum CacheChangeResult: Hashable, Sendable {
    /// The name stands for what was asked; the binding has its version.
    case bound(Binding)
    /// An action is bound already, and stays: this one.
    case kept(Binding)
    /// The name has not got the version that was expected, but this; nil: there is nothing.
    case conflict(Binding?)
    /// What there was before; nil: there was nothing, and nothing has changed.
    case evicted(Binding?)
    /// Marked, by this or before.
    case quarantined(Binding)
    /// As many names as a cluster may have are bound.
    case full

    /// Whether the change was made.
    public var isDone: Bool {
        switch self {
        case .bound, .evicted, .quarantined: true
        case .kept, .conflict, .full: false
        }
    }
}
