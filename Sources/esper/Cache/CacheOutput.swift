import CacheCore
import EsperClient
import EsperTypes

// How the cache's values read in JSON and in text.

extension Binding {
    /// The members of `binding`.
    var json: JSON {
        .fields([
            "kind": .string("\(kind)"), "state": .string("\(state)"), "manifest": .string(manifest.description),
            "version": .unsigned(version.rawValue), "cost_ms": .unsigned(UInt64(costMilliseconds)),
            "size": .unsigned(size), "tiers": tiers.json,
            "lineage": .optional(lineage) { .string($0.description) },
            "expires_unix_ms": expires == 0 ? .null : .unsigned(expires / 1_000_000),
        ])
    }

    var text: String { "\(kind) version \(version.rawValue), \(WrittenSize.text(size)), manifest \(manifest)" }
}

extension TierSet {
    var json: JSON { .array(tiers.map { .string($0.name) }) }
    var text: String { tiers.map(\.name).joined(separator: ", ") }
}

extension ArtifactName {
    var fields: [JSON.Field] { [.init(name: "tenant", value: .string(tenant))] + Bytes.fields("name", bytes) }
}

extension Manifest.File {
    var fields: [JSON.Field] {
        [.init(name: "name", value: .string(name)), .init(name: "size", value: .unsigned(size))]
    }
}
