internal import EsperTypes

/// The node's own copy of the cluster's address book.
///
/// A node that restarts has applied nothing and knows the members of its settings alone, who may all have been replaced
/// meanwhile. The copy says whom to ask; what the log holds goes before it, so that losing the copy harms nobody else.
extension DataDirectory {
    private static let membersBytes = 1 << 20

    private var membersPath: String { path + "/members" }

    /// Replaces the copy, durably: a crash leaves the old one or the new one.
    public func saveMembers(_ bytes: [UInt8]) throws(StorageError) {
        precondition(bytes.count <= Self.membersBytes, "\(bytes.count) bytes of members")
        var writer = ByteWriter()
        writer.write(CRC32C.checksum(bytes))
        writer.write(bytes)
        let unfinished = membersPath + SegmentPool.unfinishedSuffix
        do throws(FileError) {
            let file = try fileSystem.create(unfinished)
            defer { file.close() }
            try file.writeBytes(writer.bytes, at: 0)
            try file.synchronize()
            try fileSystem.rename(unfinished, to: membersPath)
            try fileSystem.synchronizeDirectory(path)
        } catch {
            throw StorageError(error)
        }
    }

    /// What was saved last; nil when there is nothing, or nothing sound.
    public func savedMembers() -> [UInt8]? {
        guard let file = try? fileSystem.open(membersPath) else { return nil }
        defer { file.close() }
        guard let stored = try? file.readBytes(Self.membersBytes + 8, at: 0) else { return nil }
        var reader = ByteReader(stored)
        guard let checksum: UInt32 = try? reader.read(), let bytes = try? reader.readBytes(),
            checksum == CRC32C.checksum(bytes)
        else { return nil }
        return bytes
    }
}
