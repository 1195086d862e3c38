public import EsperTypes

// Bindings as snapshots, answers and peers have them.

extension Binding {
    public func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.write(state.rawValue)
        writer.write(manifest)
        writer.write(version)
        writer.write(costMilliseconds)
        writer.write(size)
        writer.write(tiers.rawValue)
        writer.write(optional: lineage) { $0.write($1) }
        writer.write(expires)
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        kind = try Kind(from: &reader)
        let tag = try reader.read(UInt8.self)
        guard let state = State(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        self.state = state
        manifest = try reader.readDigest()
        version = try reader.read()
        costMilliseconds = try reader.read()
        size = try reader.read()
        guard size <= CacheLimits.artifactBytes else { throw .oversized(Int(clamping: size)) }
        tiers = try TierSet(from: &reader)
        lineage = try reader.readOptional { reader throws(DecodingError) in try reader.readDigest() }
        expires = try reader.read()
    }
}

extension Binding.Kind {
    init(from reader: inout ByteReader) throws(DecodingError) {
        let tag = try reader.read(UInt8.self)
        guard let kind = Self(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        self = kind
    }
}

extension TierSet {
    /// Every tier there is.
    public static let all = TierSet(rawValue: CacheTier.allCases.reduce(0) { $0 | 1 << $1.rawValue })

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(rawValue: try reader.read())
        guard isSubset(of: .all) else { throw .unknownTag(UInt64(rawValue)) }
    }
}
