public import EsperTypes

/// One collector's way through one page of garbage, told from all others, also from those of the collector's earlier processes.
public struct CollectionID: Hashable, Sendable {
    public var collector: NodeID
    /// Drawn at random.
    public var number: UInt64

    public init(collector: NodeID, number: UInt64) {
        self.collector = collector
        self.number = number
    }
}

/// Blobs of which a node has promised that its stores wait for them, and to whom: what it writes down before it answers.
public struct CondemnedBlobs: Hashable, Sendable {
    public var collections: [Digest: CollectionID]

    public init(_ collections: [Digest: CollectionID] = [:]) { self.collections = collections }

    private static let version: UInt8 = 1
    private static let entryBytes = 48

    /// A version, the number of entries, per entry digest, collector and number, little-endian; CRC-32C of all that.
    public func encoded() -> [UInt8] {
        let entries = collections.sorted { $0.key < $1.key }
        var writer = ByteWriter(capacity: 16 + entries.count * Self.entryBytes)
        writer.write(Self.version)
        writer.write(array: entries) { writer, entry in
            writer.write(entry.key)
            writer.write(entry.value.collector)
            writer.write(entry.value.number)
        }
        let checksum = CRC32C.checksum(writer.bytes)
        writer.write(checksum)
        return writer.bytes
    }

    /// Nil when the bytes are not those that were written.
    public init?(decoding bytes: [UInt8]) {
        var end = ByteReader(bytes.suffix(4))
        let body = Array(bytes.dropLast(4))
        guard let checksum = try? end.read(UInt32.self), checksum == CRC32C.checksum(body),
            let collections = try? Self.collections(decoding: body)
        else { return nil }
        self.collections = collections
    }

    private static func collections(decoding body: [UInt8]) throws(DecodingError) -> [Digest: CollectionID] {
        var reader = ByteReader(body)
        let version = try reader.read(UInt8.self)
        guard version == Self.version else { throw .unknownTag(UInt64(version)) }
        let count = Int(try reader.read(UInt32.self))
        guard count * entryBytes == reader.remaining else { throw .oversized(count) }
        var collections: [Digest: CollectionID] = [:]
        for _ in 0..<count {
            let digest = try reader.readDigest()
            collections[digest] = CollectionID(collector: try reader.read(), number: try reader.read())
        }
        return collections
    }
}
