import CacheCore
import EsperTypes

extension StateMachine {
    /// - Throws: ``Refusal/outboxFull`` when something durable is to be bound and the catalog is too far behind.
    mutating func changeCache(
        _ command: CacheCommand, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        if isCacheProjected, command.bindsDurably { try admitAudited() }
        var events: [CacheEvent] = []
        let result = cache.apply(
            command, index: context.index, now: time, settled: settledNames(at: context.index), into: &events)
        for event in events {
            output.cacheChanges.append(NamedBinding(event.name, event.binding))
            recordCacheEvent(event, &context, &output)
        }
        return .cache(result)
    }

    /// Whether there is a catalog: one has taken records. Without one the outbox would keep a record of every name for nobody.
    var isCacheProjected: Bool { settings.auditsCoordination && outbox.acknowledged != .zero }

    /// The catalog needs to be told of no name any more that ended with this entry or before: entries whose records wait in the outbox
    /// are not settled, nor those after them.
    func settledNames(at index: LogIndex) -> LogIndex { isCacheProjected ? outbox.settled(at: index) : index }

    /// What binds in memory alone is let in when the outbox is full, and goes unrecorded; what ends something is recorded up
    /// to twice the bound, as there may be as many ends as there were beginnings.
    private mutating func recordCacheEvent(
        _ event: CacheEvent, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) {
        let bound = settings.maximumOutboxRecords
        guard isCacheProjected, outbox.count < (event.kind == .bound(.memory) ? bound : bound.addingClamped(bound))
        else {
            cache.unprojected += 1
            return
        }
        let text = String(validating: event.name, as: UTF8.self)
        append(
            event.kind.outboxKind, text ?? String(decoding: event.name, as: UTF8.self),
            event.outboxFields(isText: text != nil), context.principal, &context, &output)
    }
}

extension CacheCommand {
    fileprivate var bindsDurably: Bool {
        guard case .change(let changes) = self else { return false }
        return changes.contains { if case .bind(let bind) = $0 { bind.mode != .memory } else { false } }
    }
}

extension Int {
    fileprivate func addingClamped(_ other: Int) -> Int {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}

extension CacheEvent.Kind {
    fileprivate var outboxKind: OutboxRecord.Kind {
        switch self {
        case .bound: .cacheBound
        case .evicted: .cacheEvicted
        case .quarantined: .cacheQuarantined
        case .expired: .cacheExpired
        case .tiersNoted: .cacheTiersNoted
        }
    }
}

extension CacheEvent {
    /// What the catalog makes its row of, each record by itself. The name is the record's subject; one that is no UTF-8 is
    /// also told in hexadecimal.
    fileprivate func outboxFields(isText: Bool) -> [OutboxRecord.Field] {
        var fields = [OutboxRecord.Field("version", String(binding.version.rawValue))]
        if !isText { fields.append(.init("name_hex", Hexadecimal.text(name))) }
        if binding.state == .tombstone { return fields }
        fields += [
            .init("kind", binding.kind == .action ? "action" : "alias"),
            .init("manifest", binding.manifest.description), .init("size", String(binding.size)),
            .init("cost_ms", String(binding.costMilliseconds)), .init("tiers", String(binding.tiers.rawValue)),
        ]
        if case .bound(let mode) = kind { fields.append(.init("mode", mode.name)) }
        if let lineage = binding.lineage { fields.append(.init("lineage", lineage.description)) }
        if binding.expires != 0 { fields.append(.init("expires", String(binding.expires))) }
        if binding.state == .quarantined { fields.append(.init("state", "quarantined")) }
        return fields
    }
}

/// Where a name stands among the keys that permissions are given on.
package enum CacheKey {
    package static let prefix = Array("_cache/".utf8)

    package static func key(_ name: [UInt8]) -> [UInt8] { prefix + name }
}
