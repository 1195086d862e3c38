internal import EsperTypes
public import RaftCore
internal import Synchronization

/// Writes one snapshot: content in order, then ``finish(stateHash:)``. Nothing of it counts before.
public final class SnapshotWriter: Sendable {
    private struct State {
        var file: (any File)?
        /// The file has its temporary name, and is this writer's to remove.
        var isPartial = true
        var writtenBytes: UInt64 = 0
        var checksums = ChunkChecksums()
    }

    private let store: SnapshotStore
    private let partialPath: String
    private let template: SnapshotDescriptor
    /// Another node sends it: how much is synced is noted in the file, so that the next life of this node can go on.
    private let isReceived: Bool
    private let state: Mutex<State>

    init(
        store: SnapshotStore, name: String, template: SnapshotDescriptor, isReceived: Bool = false
    ) throws(StorageError) {
        self.store = store
        self.template = template
        self.isReceived = isReceived
        let path = store.directory + "/" + name + SnapshotFormat.partialSuffix
        partialPath = path
        do throws(FileError) {
            let file = try store.fileSystem.create(path)
            try file.writeBytes(SnapshotFormat.header(), at: 0)
            if isReceived, let record = SnapshotFormat.received(template) {
                try file.writeBytes(record, at: SnapshotFormat.receivedStart)
                // So that a loss of power leaves the file where it can be found.
                try store.fileSystem.synchronizeDirectory(store.directory)
            }
            state = Mutex(State(file: file))
        } catch {
            // The next start removes the file when this does not.
            try? store.fileSystem.remove(path)
            throw StorageError(error)
        }
    }

    /// Goes on with what an earlier life of the node had received and synced, after reading it back.
    ///
    /// - Returns: nil when there is nothing sound to go on with.
    init?(resuming path: String, in store: SnapshotStore) throws(FileError) {
        let file = try store.fileSystem.open(path)
        var isKept = false
        defer { if !isKept { file.close() } }
        guard let (descriptor, bytes, checksum) = try SnapshotFormat.readReceived(file) else { return nil }
        var state = State(file: file)
        while state.writtenBytes < bytes {
            let wanted = Int(min(bytes - state.writtenBytes, UInt64(SnapshotFormat.chunkBytes)))
            let chunk = try file.readBytes(wanted, at: SnapshotFormat.contentStart + state.writtenBytes)
            guard chunk.count == wanted else { return nil }
            state.checksums.update(chunk)
            state.writtenBytes += UInt64(wanted)
        }
        guard state.checksums.total.checksum == checksum else { return nil }
        isKept = true
        self.store = store
        partialPath = path
        template = descriptor
        isReceived = true
        self.state = Mutex(state)
    }

    var part: PartialSnapshot { PartialSnapshot(descriptor: template, writtenBytes: writtenBytes) }

    public var writtenBytes: UInt64 { state.withLock { $0.writtenBytes } }

    /// Appends to the content.
    public func append(_ bytes: [UInt8]) throws(StorageError) {
        do throws(FileError) {
            try state.withLock { (state) throws(FileError) in
                precondition(state.file != nil, "the snapshot is finished or abandoned")
                try state.file?.writeBytes(bytes, at: SnapshotFormat.contentStart + state.writtenBytes)
                let before = state.writtenBytes / store.syncBytes
                state.writtenBytes += UInt64(bytes.count)
                state.checksums.update(bytes)
                guard state.writtenBytes / store.syncBytes > before else { return }
                try state.file?.synchronize()
                // Says no more than what is on the disk already, so it needs no sync of its own.
                guard isReceived else { return }
                try state.file?.writeBytes(
                    SnapshotFormat.progress(
                        state.writtenBytes, checksum: state.checksums.total.checksum, of: template),
                    at: SnapshotFormat.progressStart)
            }
        } catch {
            throw StorageError(error)
        }
    }

    /// Makes the snapshot durable under its final name.
    ///
    /// - Returns: what to hand to RaftCore in `snapshotTaken`.
    public func finish(stateHash: UInt64) throws(StorageError) -> SnapshotDescriptor {
        let (bytes, checksum) = state.withLock { ($0.writtenBytes, $0.checksums.total.checksum) }
        var descriptor = template
        descriptor.sizeBytes = bytes
        descriptor.checksum = checksum
        descriptor.stateHash = stateHash
        try finish(expecting: descriptor)
        return descriptor
    }

    func finish(expecting descriptor: SnapshotDescriptor) throws(StorageError) {
        let (bytes, checksum) = state.withLock { ($0.writtenBytes, $0.checksums.total.checksum) }
        guard bytes == descriptor.sizeBytes, checksum == descriptor.checksum else {
            throw StorageError(
                .snapshotRejected,
                "\(bytes) bytes with checksum \(checksum) instead of \(descriptor.sizeBytes) with \(descriptor.checksum)",
                path: partialPath)
        }
        do throws(FileError) {
            try state.withLock { (state) throws(FileError) in
                precondition(state.file != nil, "the snapshot is finished or abandoned")
                let footer = SnapshotFormat.footer(descriptor, chunkChecksums: state.checksums.finish())
                try state.file?.writeBytes(footer, at: SnapshotFormat.contentStart + state.writtenBytes)
                try state.file?.synchronize()
                state.file?.close()
                state.file = nil
            }
            try store.fileSystem.rename(partialPath, to: store.path(descriptor))
            state.withLock { $0.isPartial = false }
            try store.fileSystem.synchronizeDirectory(store.directory)
        } catch {
            throw StorageError(error)
        }
    }

    /// Removes what was written. Harmless after a failure, and without it: a start removes leftovers too.
    public func abandon() {
        let (file, isPartial) = state.withLock { state in
            defer { (state.file, state.isPartial) = (nil, false) }
            return (state.file, state.isPartial)
        }
        file?.close()
        guard isPartial else { return }
        // The next start removes the file when this does not.
        try? store.fileSystem.remove(partialPath)
    }
}

/// Reads a stored snapshot; every byte handed out was checked.
public final class SnapshotReader: Sendable {
    public let descriptor: SnapshotDescriptor
    private let file: any File
    private let chunkChecksums: [UInt32]

    init(file: any File, descriptor: SnapshotDescriptor, chunkChecksums: [UInt32]) {
        self.file = file
        self.descriptor = descriptor
        self.chunkChecksums = chunkChecksums
    }

    /// Up to `maximumBytes` of the content from `offset`.
    ///
    /// - Throws: `corrupted` with file and offset when a chunk's checksum is wrong.
    public func read(at offset: UInt64, maximumBytes: Int) throws(StorageError) -> (bytes: [UInt8], isLast: Bool) {
        guard offset < descriptor.sizeBytes, maximumBytes > 0 else { return ([], offset >= descriptor.sizeBytes) }
        let end = min(descriptor.sizeBytes, offset + UInt64(maximumBytes))
        let chunk = UInt64(SnapshotFormat.chunkBytes)
        let alignedStart = offset / chunk * chunk
        let alignedEnd = min(descriptor.sizeBytes, (end + chunk - 1) / chunk * chunk)
        let bytes: [UInt8]
        do throws(FileError) {
            bytes = try file.readBytes(
                Int(alignedEnd - alignedStart), at: SnapshotFormat.contentStart + alignedStart)
        } catch {
            throw StorageError(error)
        }
        var position = 0
        var number = Int(alignedStart / chunk)
        while position < Int(alignedEnd - alignedStart) {
            let count = min(SnapshotFormat.chunkBytes, Int(alignedEnd - alignedStart) - position)
            let isSound =
                position + count <= bytes.count
                && bytes.withUnsafeBytes {
                    CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
                } == chunkChecksums[number]
            guard isSound else {
                throw StorageError(
                    .corrupted, "a chunk of the snapshot has the wrong checksum", path: file.path,
                    offset: SnapshotFormat.contentStart + alignedStart + UInt64(position))
            }
            position += count
            number += 1
        }
        let first = Int(offset - alignedStart)
        let wanted = first == 0 && end == alignedEnd ? bytes : [UInt8](bytes[first..<first + Int(end - offset)])
        return (wanted, end == descriptor.sizeBytes)
    }

    func dropCached() { file.dropCached() }

    public func close() { file.close() }
}
