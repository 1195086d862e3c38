package import CacheCore
package import EsperTypes

/// A change of a name, as the outbox and the node's readers are told of it.
package struct CacheEvent: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case bound(StoreMode)
        case evicted, quarantined, expired, tiersNoted
    }

    package var kind: Kind
    package var name: [UInt8]
    /// What is kept of the name now.
    package var binding: Binding
}

extension CacheTable {
    /// Does what a valid command asks.
    ///
    /// - Parameters:
    ///   - index: of the entry; the version of what changes.
    ///   - now: the replicated clock.
    ///   - settled: tombstones up to here have been seen by the catalog.
    ///   - events: what happened is appended, in order.
    package mutating func apply(
        _ command: CacheCommand, index: LogIndex, now: UInt64, settled: LogIndex, into events: inout [CacheEvent]
    ) -> CacheResult {
        switch command {
        case .change(let changes):
            var results: [CacheChangeResult] = []
            results.reserveCapacity(changes.count)
            for change in changes {
                switch change {
                case .bind(let bind): results.append(self.bind(bind, index, now, &events))
                case .evict(let name, let version): results.append(evict(name, version, index, now, &events))
                case .quarantine(let name, let version): results.append(quarantine(name, version, index, now, &events))
                }
            }
            return .changed(results)
        case .expire(let expired):
            var count = 0
            for item in expired where expire(item, index, now, &events) { count += 1 }
            return .expired(count: count)
        case .noteTiers(let notes):
            var count = 0
            for note in notes where self.note(note, &events) { count += 1 }
            return .tiersNoted(count: count)
        case .forgetTombstones(let through): return forgetTombstones(through: min(through, settled))
        case .map(let command): return .map(ShardMap.apply(command, to: &map))
        }
    }

    private mutating func bind(
        _ bind: CacheBind, _ index: LogIndex, _ now: UInt64, _ events: inout [CacheEvent]
    ) -> CacheChangeResult {
        let current = binding(bind.name, now: now)
        let live = current.flatMap { $0.state == .live ? $0 : nil }
        if case .version(let expected) = bind.condition {
            let isExpected = expected == nil ? live == nil : current?.version == expected
            guard isExpected else { return .conflict(current) }
        }
        if let live, live.kind == .action {
            if bind.kind == .action, live.manifest != bind.manifest { differing += 1 }
            return .kept(live)
        }
        // An alias that lives is there first, too.
        if let live, bind.kind == .action, bind.condition == .byKind { return .kept(live) }
        guard names.count < CacheLimits.names || record(bind.name) != nil else { return .full }
        let binding = Binding(
            kind: bind.kind, manifest: bind.manifest, version: index, costMilliseconds: bind.costMilliseconds,
            size: bind.size, tiers: bind.tiers, lineage: bind.lineage, expires: bind.expiry.time(from: now))
        change(bind.name, to: binding, .bound(bind.mode), &events)
        return .bound(binding)
    }

    private mutating func evict(
        _ name: [UInt8], _ version: LogIndex?, _ index: LogIndex, _ now: UInt64, _ events: inout [CacheEvent]
    ) -> CacheChangeResult {
        guard let current = binding(name, now: now) else { return version == nil ? .evicted(nil) : .conflict(nil) }
        guard version == nil || version == current.version else { return .conflict(current) }
        change(name, to: current.tombstone(index), .evicted, &events)
        return .evicted(current)
    }

    private mutating func quarantine(
        _ name: [UInt8], _ version: LogIndex, _ index: LogIndex, _ now: UInt64, _ events: inout [CacheEvent]
    ) -> CacheChangeResult {
        guard var current = binding(name, now: now) else { return .conflict(nil) }
        // By somebody else: the name is what the caller wanted it to be.
        if current.state == .quarantined { return .quarantined(current) }
        guard current.version == version else { return .conflict(current) }
        current.state = .quarantined
        current.version = index
        change(name, to: current, .quarantined, &events)
        return .quarantined(current)
    }

    private mutating func expire(
        _ item: CacheNameVersion, _ index: LogIndex, _ now: UInt64, _ events: inout [CacheEvent]
    ) -> Bool {
        guard let current = record(item.name), current.version == item.version, current.state != .tombstone,
            current.expires != 0, current.expires <= now
        else { return false }
        change(item.name, to: current.tombstone(index), .expired, &events)
        return true
    }

    private mutating func note(_ note: CacheTierNote, _ events: inout [CacheEvent]) -> Bool {
        guard var current = record(note.name), current.version == note.version, current.state != .tombstone else {
            return false
        }
        guard !note.tiers.isSubset(of: current.tiers) else { return true }
        current.tiers.formUnion(note.tiers)
        change(note.name, to: current, .tiersNoted, &events)
        return true
    }

    private mutating func forgetTombstones(through: LogIndex) -> CacheResult {
        var count = 0
        while let (oldest, _) = tombstones.first, oldest.date <= through.rawValue {
            if count == CacheLimits.forgottenPerCommand { return .tombstonesForgotten(count: count, more: true) }
            remove(oldest.name)
            count += 1
        }
        return .tombstonesForgotten(count: count, more: false)
    }

    private mutating func change(
        _ name: [UInt8], to binding: Binding, _ kind: CacheEvent.Kind, _ events: inout [CacheEvent]
    ) {
        set(name, binding)
        events.append(CacheEvent(kind: kind, name: name, binding: binding))
    }
}

extension Binding {
    /// What is left of it when it is evicted or expires.
    fileprivate func tombstone(_ version: LogIndex) -> Binding {
        Binding(kind: kind, state: .tombstone, manifest: manifest, version: version, size: 0, tiers: [])
    }
}

extension CacheBind.Expiry {
    /// 0: never.
    fileprivate func time(from now: UInt64) -> UInt64 {
        switch self {
        case .never: 0
        case .after(let lifetime): now &+ UInt64(clamping: lifetime.nanoseconds)
        case .at(let time): time
        }
    }
}
