internal import EsperTypes
internal import RaftCore

/// A snapshot file: one page of header, the content, the checksum of each chunk, a trailer. docs/formats/snapshot.md.
enum SnapshotFormat {
    static let magic: UInt64 = 0x3150_414e_5352_5345  // "ESRSNAP1"
    static let contentStart: UInt64 = 4096
    static let chunkBytes = 256 << 10
    static let headerBytes = 20
    /// In the header's page, while a snapshot is being received: how much of it is synced.
    static let progressStart: UInt64 = 512
    static let progressBytes = 24
    /// And behind that, what is being received.
    static let receivedStart: UInt64 = 1024
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

    /// Length, descriptor, checksum; nil when it does not fit the page, and the snapshot then begins anew after a restart.
    static func received(_ descriptor: SnapshotDescriptor) -> [UInt8]? {
        var body = ByteWriter(capacity: 256)
        body.write(descriptor)
        guard UInt64(body.bytes.count) <= contentStart - receivedStart - 8 else { return nil }
        var writer = ByteWriter(capacity: body.bytes.count + 8)
        writer.write(body.bytes)
        writer.write(CRC32C.checksum(writer.bytes))
        return writer.bytes
    }

    /// Bytes synced, their checksum, that of the descriptor's place, and one over these.
    static func progress(_ bytes: UInt64, checksum: UInt32, of descriptor: SnapshotDescriptor) -> [UInt8] {
        var writer = ByteWriter(capacity: progressBytes)
        writer.write(bytes)
        writer.write(checksum)
        writer.write(descriptor.checksum)
        writer.write(UInt32(0))
        writer.write(CRC32C.checksum(writer.bytes))
        return writer.bytes
    }

    /// Reads back what ``received(_:)`` and ``progress(_:checksum:of:)`` wrote; nil when any of it is missing or damaged.
    static func readReceived(_ file: any File) throws(FileError) -> (
        SnapshotDescriptor, bytes: UInt64, checksum: UInt32
    )? {
        let page = try file.readBytes(Int(contentStart), at: 0)
        guard page.count == Int(contentStart), page.starts(with: header()) else { return nil }
        var reader = ByteReader(page[Int(receivedStart)...])
        guard let body = try? reader.readBytes(), let written = try? reader.read(UInt32.self) else { return nil }
        var writer = ByteWriter(capacity: body.count + 4)
        writer.write(body)
        var content = ByteReader(body)
        guard CRC32C.checksum(writer.bytes) == written, let descriptor = try? content.readDescriptor(),
            (try? content.finish()) != nil
        else { return nil }
        let record = [UInt8](page[Int(progressStart)..<Int(progressStart) + progressBytes])
        var progress = ByteReader(record)
        guard let bytes = try? progress.read(UInt64.self), let checksum = try? progress.read(UInt32.self),
            record == Self.progress(bytes, checksum: checksum, of: descriptor), bytes <= descriptor.sizeBytes
        else { return nil }
        return (descriptor, bytes, checksum)
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
