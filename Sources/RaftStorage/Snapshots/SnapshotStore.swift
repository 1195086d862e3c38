internal import EsperTypes
public import RaftCore
internal import Synchronization

/// The snapshots of a data directory.
///
/// A snapshot is written under a temporary name, synced, renamed and its directory synced: under its final name it is
/// whole. It counts only once the log names it (``WriteBatch/installedSnapshot`` or ``WriteBatch/compaction``); what a
/// crash leaves before that is removed at the next start. All methods block: call them from a thread that may.
public final class SnapshotStore: Sendable {
    let directory: String
    let fileSystem: any FileSystem
    /// Dirty pages of a snapshot are synced this often, so that the last sync is short and the log's syncs are not held up
    /// for long.
    let syncBytes: UInt64
    private let receiving = Mutex<(descriptor: SnapshotDescriptor, writer: SnapshotWriter)?>(nil)

    init(directory: String, fileSystem: any FileSystem, syncBytes: Int) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.syncBytes = UInt64(syncBytes)
    }

    /// Starts a snapshot of the own state machine. Write the content in order, then finish or abandon it.
    public func begin(_ basis: SnapshotBasis) throws(StorageError) -> SnapshotWriter {
        let template = SnapshotDescriptor(
            id: basis.id, configuration: basis.configuration, configurationIndex: basis.configurationIndex,
            sizeBytes: 0, checksum: 0)
        return try begin(template)
    }

    /// - Parameter template: its size and checksums are found out by writing.
    package func begin(_ template: SnapshotDescriptor) throws(StorageError) -> SnapshotWriter {
        try SnapshotWriter(store: self, name: "local-" + hexadecimal(template.index.rawValue), template: template)
    }

    /// Writes a part of a snapshot that another node sends. Offset 0 starts over and forgets what was received before.
    ///
    /// After the last part the size and checksum are verified, the file is synced and put in its place.
    ///
    /// - Returns: how far the content is written.
    /// - Throws: `snapshotRejected` when the part does not follow the one before or the checksum is wrong; what was
    ///   received is forgotten then.
    @discardableResult
    public func receive(
        _ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool
    ) throws(StorageError) -> UInt64 {
        if offset == 0 {
            abandonReceived()
            let name = Self.receivedName(descriptor)
            let writer = try SnapshotWriter(store: self, name: name, template: descriptor, isReceived: true)
            receiving.withLock { $0 = (descriptor, writer) }
        }
        guard let (expected, writer) = receiving.withLock({ $0 }), expected == descriptor, writer.writtenBytes == offset
        else {
            abandonReceived()
            throw StorageError(
                .snapshotRejected, "a part at byte \(offset) does not follow what was received", path: path(descriptor))
        }
        do throws(StorageError) {
            try writer.append(bytes)
            if isLast {
                try writer.finish(expecting: descriptor)
                receiving.withLock { $0 = nil }
            }
            return offset + UInt64(bytes.count)
        } catch {
            abandonReceived()
            throw error
        }
    }

    /// Takes up the newest snapshot that was being received when the node stopped, if it is newer than `installed`.
    ///
    /// What is there is read back and checked. ``receive(_:offset:bytes:isLast:)`` goes on where it ends.
    func resumeReceived(after installed: SnapshotDescriptor?) throws(StorageError) -> PartialSnapshot? {
        do throws(FileError) {
            // Names are of fixed width and end in the index.
            for name in try fileSystem.list(directory).sorted().reversed()
            where name.hasPrefix("received-") && name.hasSuffix(SnapshotFormat.partialSuffix) {
                // What cannot be read is received again from its beginning.
                guard let writer = try? SnapshotWriter(resuming: directory + "/" + name, in: self) else { continue }
                guard writer.part.descriptor.index > installed?.index ?? .zero, writer.writtenBytes > 0 else {
                    writer.abandon()
                    continue
                }
                receiving.withLock { $0 = (writer.part.descriptor, writer) }
                return writer.part
            }
        } catch {
            throw StorageError(error)
        }
        return nil
    }

    /// Forgets a snapshot that is being received.
    public func abandonReceived() {
        let abandoned = receiving.withLock { current in
            defer { current = nil }
            return current?.writer
        }
        abandoned?.abandon()
    }

    /// Opens a stored snapshot for reading by chunks, for sending it or for restoring the state machine.
    ///
    /// The reader goes on when the snapshot is pruned meanwhile.
    /// - Throws: `snapshotMissing`, `corrupted`.
    public func open(_ descriptor: SnapshotDescriptor) throws(StorageError) -> SnapshotReader {
        let path = path(descriptor)
        do throws(FileError) {
            let file = try fileSystem.open(path)
            if let (stored, checksums) = try SnapshotFormat.readFooter(file), stored == descriptor {
                return SnapshotReader(file: file, descriptor: descriptor, chunkChecksums: checksums)
            }
        } catch {
            throw error.isNotFound
                ? StorageError(.snapshotMissing, "the log names this snapshot, but there is no such file", path: path)
                : StorageError(error)
        }
        throw StorageError(.corrupted, "the snapshot's header or footer is damaged", path: path, offset: 0)
    }

    /// Whether the snapshot is there with its header, size and footer. Content is checked chunk by chunk when it is read.
    func check(_ descriptor: SnapshotDescriptor) throws(StorageError) { try open(descriptor).close() }

    /// What is stored whole, oldest first.
    public func list() throws(StorageError) -> [SnapshotDescriptor] {
        var found: [SnapshotDescriptor] = []
        do throws(FileError) {
            for name in try fileSystem.list(directory) where name.hasSuffix(SnapshotFormat.suffix) {
                let file = try fileSystem.open(directory + "/" + name)
                if let (descriptor, _) = try SnapshotFormat.readFooter(file) { found.append(descriptor) }
                file.close()
            }
        } catch {
            throw StorageError(error)
        }
        return found.sorted { $0.id < $1.id }
    }

    /// Removes what is older than the newest of these, but for these: the one that a durable log record names, and those in use.
    ///
    /// What is newer stays: it was written since, and the log is about to name it.
    public func prune(keeping descriptors: [SnapshotDescriptor]) throws(StorageError) {
        let kept = Set(descriptors.map(SnapshotFormat.name))
        // Names are of fixed width and begin with term and index.
        guard let newest = kept.max() else { return }
        try remove { $0.hasSuffix(SnapshotFormat.suffix) && $0 < newest && !kept.contains($0) }
    }

    func removeLeftovers(keeping descriptor: SnapshotDescriptor?) throws(StorageError) {
        let kept = [
            descriptor.map(SnapshotFormat.name),
            receiving.withLock { $0.map { Self.receivedName($0.descriptor) + SnapshotFormat.partialSuffix } },
        ]
        try remove {
            !kept.contains($0) && ($0.hasSuffix(SnapshotFormat.suffix) || $0.hasSuffix(SnapshotFormat.partialSuffix))
        }
    }

    private static func receivedName(_ descriptor: SnapshotDescriptor) -> String {
        "received-" + hexadecimal(descriptor.index.rawValue)
    }

    package func path(_ descriptor: SnapshotDescriptor) -> String { directory + "/" + SnapshotFormat.name(descriptor) }

    private func remove(where matches: (String) -> Bool) throws(StorageError) {
        do throws(FileError) {
            var isChanged = false
            for name in try fileSystem.list(directory) where matches(name) {
                try fileSystem.remove(directory + "/" + name)
                isChanged = true
            }
            if isChanged { try fileSystem.synchronizeDirectory(directory) }
        } catch {
            throw StorageError(error)
        }
    }
}
