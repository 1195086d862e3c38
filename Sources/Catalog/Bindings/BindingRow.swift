internal import Coordination
internal import EsperTypes

/// A row of `esper.cache_binding`, made of one record; a record tells everything by itself, so that any order of them, and any
/// repetition, leads to the same rows.
struct BindingRow: Hashable, Sendable {
    /// In hexadecimal, as are the digests: arrays of text are what we send.
    var name: String
    var tenant: String
    var version: Int64
    var state: String
    /// Empty: none, as for the digests and the mode.
    var kind = ""
    var manifest = ""
    var lineage = ""
    var size: Int64 = 0
    var costMilliseconds: Int64 = 0
    /// Only what binds has one.
    var mode = ""
    var tiers: Int64 = 0
    /// In microseconds since 1970; 0: never.
    var expires: Int64 = 0
    var actor: String
    /// In nanoseconds since 1970.
    var changed: Int64

    /// - Returns: nil when the record is not about a name, or was stored without its text.
    init?(_ record: OutboxRecord) {
        switch record.kind {
        case .cacheBound, .cacheQuarantined, .cacheTiersNoted: state = "live"
        case .cacheEvicted, .cacheExpired: state = "tombstone"
        default: return nil
        }
        guard let version = record.number("version") else { return nil }
        self.version = version
        if let name = record.text("name_hex") {
            self.name = name
        } else {
            name = Hexadecimal.text(record.subject.utf8)
        }
        tenant = CatalogText.escaped(String(record.subject.prefix { $0 != "/" }))
        kind = record.text("kind") ?? ""
        manifest = record.text("manifest") ?? ""
        lineage = record.text("lineage") ?? ""
        size = record.number("size") ?? 0
        costMilliseconds = record.number("cost_ms") ?? 0
        mode = record.text("mode") ?? ""
        tiers = record.number("tiers") ?? 0
        expires = (record.number("expires") ?? 0) / 1000
        if let state = record.text("state") { self.state = state }
        actor = CatalogText.escaped(record.actor)
        changed = Int64(clamping: record.time)
    }

    /// One row of each name, in the order of their names: the newest; of those of one version the tiers of all, and the rest
    /// from the one that bound it.
    static func rows(of records: [OutboxRecord]) -> [BindingRow] {
        var newest: [String: BindingRow] = [:]
        for row in records.compactMap(BindingRow.init) {
            guard var known = newest[row.name] else {
                newest[row.name] = row
                continue
            }
            if row.version < known.version { continue }
            if row.version > known.version {
                known = row
            } else {
                let tiers = known.tiers | row.tiers
                if !row.mode.isEmpty { known = row }
                known.tiers = tiers
            }
            newest[row.name] = known
        }
        return newest.values.sorted { $0.name < $1.name }
    }
}

extension OutboxRecord {
    fileprivate func text(_ name: String) -> String? { fields.last { $0.name == name }?.value }

    fileprivate func number(_ name: String) -> Int64? { text(name).flatMap { UInt64($0) }.map { Int64(clamping: $0) } }
}
