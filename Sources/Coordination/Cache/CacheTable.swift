public import CacheCore
public import EsperTypes

/// What every name of the cache stands for: the part of the replicated state that a lookup asks.
///
/// A value whose copies share structure; copying it is O(1), and a copy may be read on any thread. Times are the replicated
/// clock's, in nanoseconds since 1970 (``StateMachine/time``).
public struct CacheTable: Sendable {
    /// Names that are bound, and tombstones, by full name.
    package private(set) var names = Tree<[UInt8], PackedBinding>()
    /// Of those that expire, by when.
    package private(set) var expiring = Tree<DatedName, Bool>()
    /// By version.
    package private(set) var tombstones = Tree<DatedName, Bool>()
    package private(set) var quarantined = 0
    /// Of names that are no tombstones.
    package private(set) var bytes: UInt64 = 0
    /// Results of an action that differed from the one that stays.
    package var differing: UInt64 = 0
    /// Changes that no catalog was told of, because there was none or it was too far behind.
    package var unprojected: UInt64 = 0
    /// Where blobs belong; nil before the first leader has made it.
    public package(set) var map: ShardMap?

    public init() {}

    /// What the name stands for at this time: live or quarantined. Nil: nothing; evicted and expired bindings are nothing.
    public func binding(_ name: [UInt8], now: UInt64) -> Binding? {
        guard let found = names.value(for: name), found.isVisible(at: now) else { return nil }
        return found.binding
    }

    /// What is kept of the name, tombstones and what has expired included.
    public func record(_ name: [UInt8]) -> Binding? { names.value(for: name)?.binding }

    /// Live bindings whose names start with `prefix` and are above `after`, in order.
    ///
    /// - Complexity: looks at no more than ``examinedNames`` names; a page may have few bindings and more behind it.
    public func bindings(prefix: [UInt8], after: [UInt8]?, limit: Int, now: UInt64) -> CachePage {
        var page = CachePage()
        var examined = 0
        var last = after
        let start = after.map { $0.precedes(prefix) ? prefix : $0 } ?? prefix
        for (name, packed) in names.cursor(from: start) {
            guard name.starts(with: prefix) else { return page }
            if name == after { continue }
            if page.bindings.count >= limit || examined >= Self.examinedNames {
                page.next = last
                return page
            }
            examined += 1
            last = name
            if packed.state == .live, packed.isVisible(at: now) {
                page.bindings.append(NamedBinding(name, packed.binding))
            }
        }
        return page
    }

    /// What is kept of names above `after`, tombstones included: for whoever brings a copy up to date.
    public func records(after: [UInt8]?, limit: Int) -> [NamedBinding] {
        var found: [NamedBinding] = []
        for (name, packed) in names.cursor(from: after) {
            if name == after { continue }
            if found.count >= limit { break }
            found.append(NamedBinding(name, packed.binding))
        }
        return found
    }

    /// Bindings whose time is over, the longest first: what a leader proposes to expire.
    public func expired(now: UInt64, limit: Int) -> [CacheNameVersion] {
        var found: [CacheNameVersion] = []
        for (key, _) in expiring.cursor() {
            guard key.date <= now, found.count < limit else { break }
            if let packed = names.value(for: key.name) { found.append(.init(key.name, packed.version)) }
        }
        return found
    }

    /// What a node with a read lease may say of a name.
    ///
    /// - Parameters:
    ///   - time: the replicated clock of this table.
    ///   - pending: the latest stamp of what is in the log and not applied: what ends by then may have ended.
    /// - Returns: nil when that may have happened.
    public func lookup(_ name: [UInt8], now time: UInt64, pending: UInt64) -> BindingLookup? {
        guard let found = binding(name, now: time) else { return .absent }
        guard found.expires == 0 || found.expires > pending else { return nil }
        return .found(found)
    }

    /// When the next binding expires; nil: none ever does.
    public var nextExpiry: UInt64? { expiring.first?.key.date }

    /// When the first binding expires whose time is not over at `time`; nil: none ever does.
    public func nextExpiry(after time: UInt64) -> UInt64? {
        guard time < .max else { return nil }
        var ends = expiring.cursor(from: DatedName(time + 1, []))
        return ends.next()?.key.date
    }

    /// The oldest tombstone that is kept.
    public var oldestTombstone: LogIndex? { tombstones.first.map { LogIndex($0.key.date) } }

    /// O(1).
    public var summary: CacheSummary {
        CacheSummary(
            live: names.count - tombstones.count - quarantined, quarantined: quarantined, tombstones: tombstones.count,
            expiring: expiring.count, bytes: bytes, differing: differing, unprojected: unprojected)
    }

    package static let examinedNames = 10_000

    // MARK: Changes

    /// The only way in: keeps the indexes and the sums right.
    package mutating func set(_ name: [UInt8], _ binding: Binding) {
        let packed = PackedBinding(binding)
        var kept = name
        let old = names.upsert(name) { key, _ in
            kept = key
            return packed
        }
        if let old { forget(kept, old) }
        if binding.expires != 0 { expiring.set(DatedName(binding.expires, kept), true) }
        switch binding.state {
        case .live: bytes += binding.size
        case .quarantined:
            bytes += binding.size
            quarantined += 1
        case .tombstone: tombstones.set(DatedName(binding.version.rawValue, kept), true)
        }
    }

    /// Forgets a tombstone.
    package mutating func remove(_ name: [UInt8]) {
        if let old = names.remove(name) { forget(name, old) }
    }

    private mutating func forget(_ name: [UInt8], _ old: PackedBinding) {
        if old.expires != 0 { expiring.remove(DatedName(old.expires, name)) }
        switch old.state {
        case .live: bytes -= old.size
        case .quarantined:
            bytes -= old.size
            quarantined -= 1
        case .tombstone: tombstones.remove(DatedName(old.version.rawValue, name))
        }
    }
}

/// A name with what it stands for.
public struct NamedBinding: Hashable, Sendable {
    public var name: [UInt8]
    public var binding: Binding

    public init(_ name: [UInt8], _ binding: Binding) {
        self.name = name
        self.binding = binding
    }
}

/// Some bindings of a list.
public struct CachePage: Hashable, Sendable {
    public var bindings: [NamedBinding]
    /// Where the list goes on, as `after`; nil: it ends here.
    public var next: [UInt8]?

    public init(bindings: [NamedBinding] = [], next: [UInt8]? = nil) {
        self.bindings = bindings
        self.next = next
    }
}

/// Sizes, for status pages and metrics.
public struct CacheSummary: Hashable, Sendable {
    /// Those that have expired and are not collected yet included.
    public var live: Int
    public var quarantined: Int
    public var tombstones: Int
    /// Names that expire some time.
    public var expiring: Int
    /// Of all artifacts that are bound, each name's counted.
    public var bytes: UInt64
    /// Results of actions that differed from the one that stays.
    public var differing: UInt64
    /// Changes that no catalog was told of, because there was none or it was too far behind.
    public var unprojected: UInt64

    public init(
        live: Int, quarantined: Int, tombstones: Int, expiring: Int, bytes: UInt64, differing: UInt64,
        unprojected: UInt64
    ) {
        self.live = live
        self.quarantined = quarantined
        self.tombstones = tombstones
        self.expiring = expiring
        self.bytes = bytes
        self.differing = differing
        self.unprojected = unprojected
    }
}
