package import CacheCore
package import EsperTypes

/// A ``Binding`` in 64 bytes: a million of them are kept on every node.
package struct PackedBinding: Sendable {
    /// What few bindings have.
    private final class Extra: Sendable {
        let lineage: Digest?
        let expires: UInt64

        init(lineage: Digest?, expires: UInt64) {
            self.lineage = lineage
            self.expires = expires
        }
    }

    private let manifest: Digest
    package let version: LogIndex
    /// The size in the low 40 bits (an artifact has at most 2^33 bytes), then eight bits each of tiers, kind and state.
    private let sizeAndTags: UInt64
    private let costMilliseconds: UInt32
    private let extra: Extra?

    package init(_ binding: Binding) {
        precondition(binding.size < 1 << 40, "an artifact of \(binding.size) bytes")
        manifest = binding.manifest
        version = binding.version
        sizeAndTags =
            binding.size | UInt64(binding.tiers.rawValue) << 40 | UInt64(binding.kind.rawValue) << 48
            | UInt64(binding.state.rawValue) << 56
        costMilliseconds = binding.costMilliseconds
        let isPlain = binding.lineage == nil && binding.expires == 0
        extra = isPlain ? nil : Extra(lineage: binding.lineage, expires: binding.expires)
    }

    package var state: Binding.State { Binding.State(rawValue: UInt8(truncatingIfNeeded: sizeAndTags >> 56))! }
    package var size: UInt64 { sizeAndTags & (1 << 40 - 1) }
    package var expires: UInt64 { extra?.expires ?? 0 }

    /// Whether readers see it at this time, live or quarantined.
    package func isVisible(at now: UInt64) -> Bool {
        state != .tombstone && (extra.map { $0.expires == 0 || $0.expires > now } ?? true)
    }

    package var binding: Binding {
        Binding(
            kind: Binding.Kind(rawValue: UInt8(truncatingIfNeeded: sizeAndTags >> 48))!, state: state,
            manifest: manifest, version: version, costMilliseconds: costMilliseconds, size: size,
            tiers: TierSet(rawValue: UInt8(truncatingIfNeeded: sizeAndTags >> 40)), lineage: extra?.lineage,
            expires: expires)
    }
}

/// A name among those of one time or version; shares its bytes with the table.
package struct DatedName: TreeKey {
    package var date: UInt64
    package var name: [UInt8]

    package init(_ date: UInt64, _ name: [UInt8]) {
        self.date = date
        self.name = name
    }

    package func order(against other: DatedName, skipping skipped: Int) -> Int {
        let order = date.order(against: other.date, skipping: 0)
        return order != 0 ? order : name.order(against: other.name, skipping: 0)
    }

    package func prefixOrder(against other: DatedName, length: Int) -> Int { 0 }
    package func sharedPrefix(with other: DatedName) -> Int { 0 }
    package func head(skipping skipped: Int) -> UInt64 { date }
}
