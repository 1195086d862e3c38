internal import EsperTypes
internal import RaftCore

/// A snapshot file: one page of header, the content, the checksum of each chunk, a trailer. docs/formats/snapshot.md.
enum SnapshotFormat {
    static let magic: UInt64 = 0x3150_414e_5352_5345  // "ESRSNAP1"
    static let contentStart: UInt64 = 4096
    static let chunkBytes = 256 << 10
    static let headerBytes = 20
    static let trailerBytes = 24
    static let suffix = ".snapshot"
    static let partialSuffix = ".partial"

    static func name(_ descriptor: SnapshotDescriptor) -> String {
        hexadecimal(descriptor.id.term.rawValue) + "-" + hexadecimal(descriptor.id.index.rawValue) + "-"
            + String(hexadecimal(UInt64(descriptor.checksum)).suffix(8)) + suffix
    }

    /// Magic, version, chunk size, checksum.
    static func header() -> [UInt8] {
        var writer = ByteWriter(capacity: headerBytes)
        writer.write(magic)
        writer.write(storageFormatVersion)
        writer.write(UInt32(chunkBytes))
        writer.write(CRC32C.checksum(writer.bytes))
        return writer.bytes
    }

    /// Everything after the content: descriptor, chunk checksums, then the trailer with length, checksum and magic.
    static func footer(_ descriptor: SnapshotDescriptor, chunkChecksums: [UInt32]) -> [UInt8] {
        var writer = ByteWriter(capacity: 256 + chunkChecksums.count * 4)
        writer.write(descriptor)
        writer.write(array: chunkChecksums) { $0.write($1) }
        let length = writer.bytes.count
        let checksum = CRC32C.checksum(writer.bytes)
        writer.write(UInt64(length))
        writer.write(checksum)
        writer.write(storageFormatVersion)
        writer.write(magic)
        return writer.bytes
    }

    /// Reads what ``footer(_:chunkChecksums:)`` wrote, from the end of the file; nil when any of it is damaged.
    static func readFooter(_ file: any File) throws(FileError) -> (SnapshotDescriptor, [UInt32])? {
        let size = try file.sizeBytes()
        guard size >= contentStart + UInt64(trailerBytes) else { return nil }
        guard try file.readBytes(headerBytes, at: 0) == header() else { return nil }
        var trailer = ByteReader(try file.readBytes(trailerBytes, at: size - UInt64(trailerBytes)))
        guard let length = try? trailer.read(UInt64.self), let checksum = try? trailer.read(UInt32.self),
            let version = try? trailer.read(UInt32.self), version == storageFormatVersion,
            (try? trailer.read(UInt64.self)) == magic, length <= size - contentStart - UInt64(trailerBytes)
        else { return nil }
        let body = try file.readBytes(Int(length), at: size - UInt64(trailerBytes) - length)
        guard CRC32C.checksum(body) == checksum else { return nil }
        var reader = ByteReader(body)
        guard let descriptor = try? reader.readDescriptor(),
            let checksums = try? reader.readArray({ (element: inout ByteReader) throws(DecodingError) in
                try element.read(UInt32.self)
            }), (try? reader.finish()) != nil,
            contentStart + descriptor.sizeBytes + length + UInt64(trailerBytes) == size,
            UInt64(checksums.count) == (descriptor.sizeBytes + UInt64(chunkBytes) - 1) / UInt64(chunkBytes)
        else { return nil }
        return (descriptor, checksums)
    }
}

/// Checksums of a stream: one for each chunk, one over everything.
struct ChunkChecksums: Sendable {
    private(set) var finished: [UInt32] = []
    private(set) var total = CRC32C()
    private var chunk = CRC32C()
    private var chunkCount = 0

    mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            total.update(buffer)
            var offset = 0
            while offset < buffer.count {
                let count = min(SnapshotFormat.chunkBytes - chunkCount, buffer.count - offset)
                chunk.update(UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + count]))
                chunkCount += count
                offset += count
                if chunkCount == SnapshotFormat.chunkBytes { endChunk() }
            }
        }
    }

    mutating func finish() -> [UInt32] {
        if chunkCount > 0 { endChunk() }
        return finished
    }

    private mutating func endChunk() {
        finished.append(chunk.checksum)
        chunk = CRC32C()
        chunkCount = 0
    }
}
