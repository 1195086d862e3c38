public import EsperTypes

extension Manifest {
    /// The first byte of every encoded manifest: the format's version.
    private static let format: UInt8 = 1

    /// One encoding for one manifest: its SHA-256 is the manifest's digest.
    public func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.write(Self.format)
        writer.write(self.writer)
        writer.write(array: files) { writer, file in
            writer.write(file.name)
            switch file.content {
            case .inline(let bytes):
                writer.write(UInt8(0))
                writer.write(bytes)
            case .blobs(let blobs):
                writer.write(UInt8(1))
                writer.write(array: blobs) {
                    $0.write($1.digest)
                    $0.write($1.size)
                }
            }
        }
        return writer.bytes
    }

    /// Reads what ``encoded()`` wrote; checks bounds, and leaves the rest to ``validate()``.
    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        guard bytes.count <= CacheLimits.manifestBytes else { throw .oversized(bytes.count) }
        var reader = ByteReader(bytes)
        let format = try reader.read(UInt8.self)
        guard format == Self.format else { throw .unknownTag(UInt64(format)) }
        writer = try reader.readString(atMost: CacheLimits.writerBytes)
        files = try reader.readArray(atMost: CacheLimits.files) { reader throws(DecodingError) in
            let name = try reader.readString(atMost: CacheLimits.fileNameBytes)
            let tag = try reader.read(UInt8.self)
            switch tag {
            case 0: return File(name: name, content: .inline(try reader.readBytes(atMost: CacheLimits.inlineBytes)))
            case 1:
                let blobs = try reader.readArray(atMost: CacheLimits.manifestBytes / Digest.byteCount) {
                    reader throws(DecodingError) in
                    BlobReference(digest: try reader.readDigest(), size: try reader.read())
                }
                return File(name: name, content: .blobs(blobs))
            default: throw .unknownTag(UInt64(tag))
            }
        }
        try reader.finish()
    }
}
