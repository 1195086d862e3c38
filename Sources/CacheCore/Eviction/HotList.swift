public import EsperTypes

/// The digests that are most worth having at once after a start: by uses × cost of making.
public struct HotList: Hashable, Sendable {
    public struct Entry: Hashable, Sendable {
        public var digest: Digest
        public var bytes: UInt32
        /// Uses × milliseconds.
        public var weight: UInt64
        /// Of making it; 0: not known.
        public var costMilliseconds: UInt32

        public init(digest: Digest, bytes: UInt32, weight: UInt64, costMilliseconds: UInt32) {
            self.digest = digest
            self.bytes = bytes
            self.weight = weight
            self.costMilliseconds = costMilliseconds
        }
    }

    public static let maximumCount = 1 << 20

    public let limit: Int
    private var candidates: [Entry] = []

    /// - Parameter limit: of entries, at most ``maximumCount``.
    public init(limit: Int) { self.limit = min(max(0, limit), Self.maximumCount) }

    /// The most worthy first; equal ones by digest.
    public var entries: [Entry] {
        Array(candidates.sorted(by: Self.isWorthier).prefix(limit))
    }

    public mutating func insert(_ entry: Entry) {
        candidates.append(entry)
        if candidates.count > 2 * limit + 64 { candidates = entries }
    }

    private static func isWorthier(_ left: Entry, _ right: Entry) -> Bool {
        left.weight != right.weight ? left.weight > right.weight : left.digest < right.digest
    }
}

extension HotList {
    private static let version: UInt8 = 2
    private static let entryBytes = 48

    /// A version, the number of entries, and per entry digest, bytes, weight and cost, little-endian.
    public func encoded() -> [UInt8] {
        let entries = entries
        var writer = ByteWriter(capacity: 8 + entries.count * Self.entryBytes)
        writer.write(Self.version)
        writer.write(array: entries) { writer, entry in
            writer.write(entry.digest)
            writer.write(entry.bytes)
            writer.write(entry.weight)
            writer.write(entry.costMilliseconds)
        }
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        let version = try reader.read(UInt8.self)
        guard version == Self.version else { throw .unknownTag(UInt64(version)) }
        let count = Int(try reader.read(UInt32.self))
        guard count <= Self.maximumCount, count * Self.entryBytes <= reader.remaining else { throw .oversized(count) }
        self.init(limit: count)
        for _ in 0..<count {
            candidates.append(
                Entry(
                    digest: try reader.readDigest(), bytes: try reader.read(), weight: try reader.read(),
                    costMilliseconds: try reader.read()))
        }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
    }
}
