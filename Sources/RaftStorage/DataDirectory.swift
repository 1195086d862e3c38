public import EsperTypes
public import RaftCore
internal import Synchronization

/// A node's directory: the lock, the metadata slots, the log and the snapshots.
///
///     LOCK               flock of the process that uses the directory
///     metadata           whose it is; two alternating slots
///     members            whom to ask at a start, see ``saveMembers(_:)``
///     log/N.segment      docs/formats/log.md
///     snapshots/…        docs/formats/snapshot.md
///     DIVERGED           why no start may use the directory again, see ``markDiverged(_:)``
///
/// Opening locks and checks it; ``recover()`` reads the log. Both block and belong on a thread that may.
public final class DataDirectory: Sendable {
    public let path: String
    public let identity: StorageIdentity
    public let snapshots: SnapshotStore
    let fileSystem: any FileSystem
    let options: StorageOptions
    let entropy: @Sendable () -> UInt64
    private let lock: any FileLock
    let metadata: MetadataFile

    private init(
        path: String, metadata: MetadataFile, fileSystem: any FileSystem, options: StorageOptions,
        entropy: @escaping @Sendable () -> UInt64, lock: any FileLock
    ) {
        self.path = path
        self.metadata = metadata
        self.fileSystem = fileSystem
        self.options = options
        self.entropy = entropy
        self.lock = lock
        identity = metadata.metadata.identity
        snapshots = SnapshotStore(
            directory: Self.snapshotDirectory(path), fileSystem: fileSystem, syncBytes: options.snapshotSyncBytes)
    }

    /// Whether there is an initialized data directory.
    public static func exists(_ path: String, in fileSystem: any FileSystem) throws(StorageError) -> Bool {
        do throws(FileError) { return try fileSystem.exists(metadataPath(path)) } catch { throw StorageError(error) }
    }

    /// Makes a data directory for a node that never ran. A crash in between leaves nothing that counts: call it again.
    ///
    /// - Parameters:
    ///   - configuration: the cluster's first configuration, the same on every first member.
    ///   - entropy: random numbers; never the same twice.
    /// - Throws: `alreadyInitialized` when there is one, or a log without its metadata; `locked`.
    public static func create(
        _ path: String, identity: StorageIdentity, configuration: Configuration,
        in fileSystem: any FileSystem = POSIXFileSystem(), options: StorageOptions = StorageOptions(),
        entropy: @escaping @Sendable () -> UInt64
    ) throws(StorageError) {
        do throws(FileError) {
            try fileSystem.createDirectories(logDirectory(path))
            try fileSystem.createDirectories(snapshotDirectory(path))
        } catch {
            throw StorageError(error)
        }
        let lock = try acquireLock(path, in: fileSystem)
        defer { lock.release() }
        guard try !exists(path, in: fileSystem) else {
            throw StorageError(.alreadyInitialized, "the directory is initialized already", path: path)
        }
        try refuseOrphanedLog(path, in: fileSystem)
        do throws(FileError) {
            let header = SegmentHeader(
                identity: identity, ordinal: 1, salt: SegmentSalt(entropy()), sectorBytes: options.sectorBytes,
                segmentBytes: options.segmentBytes, previousEnd: 0, previousChain: 0, firstSequence: 1,
                durableThrough: 0, state: LogState(baseConfiguration: configuration))
            try SegmentPool.makeFirst(header, in: fileSystem, directory: logDirectory(path))
            let unfinished = metadataPath(path) + SegmentPool.unfinishedSuffix
            let metadata = Metadata(identity: identity, durableThrough: 0, activeSegment: 1, generation: 1)
            try MetadataFile.create(unfinished, metadata, in: fileSystem).closeFile()
            try fileSystem.synchronizeDirectory(path)
            // From here on the directory counts.
            try fileSystem.rename(unfinished, to: metadataPath(path))
            try fileSystem.synchronizeDirectory(path)
        } catch {
            throw StorageError(error)
        }
    }

    /// Locks a directory and checks that it is the expected one.
    ///
    /// - Parameters:
    ///   - cluster: refuse a directory of another cluster; nil takes any.
    ///   - node: refuse a directory of another node; nil takes any.
    /// - Throws: `notInitialized`, `locked`, `wrongCluster`, `wrongNode`, `newerFormat`, `corrupted`, `diverged`.
    public static func open(
        _ path: String, cluster: ClusterID? = nil, node: NodeID? = nil,
        in fileSystem: any FileSystem = POSIXFileSystem(), options: StorageOptions = StorageOptions(),
        entropy: @escaping @Sendable () -> UInt64
    ) throws(StorageError) -> DataDirectory {
        guard try exists(path, in: fileSystem) else {
            throw StorageError(.notInitialized, "there is no data directory here", path: path)
        }
        let lock = try acquireLock(path, in: fileSystem)
        do throws(StorageError) {
            let metadata = try MetadataFile.open(metadataPath(path), in: fileSystem)
            let identity = metadata.metadata.identity
            if let cluster, cluster != identity.cluster {
                throw StorageError(
                    .wrongCluster, "the directory belongs to cluster \(identity.cluster), not \(cluster)", path: path)
            }
            if let node, node != identity.node {
                throw StorageError(
                    .wrongNode, "the directory belongs to node \(identity.node), not \(node)", path: path)
            }
            try refuseDiverged(path, in: fileSystem)
            // A killed process may have left names in memory alone: of the metadata, of a segment that is written next, or of a
            // snapshot that a log begun anew would stand on.
            do throws(FileError) {
                for directory in [path, logDirectory(path), snapshotDirectory(path)] {
                    try fileSystem.synchronizeDirectory(directory)
                }
            } catch {
                throw StorageError(error)
            }
            return DataDirectory(
                path: path, metadata: metadata, fileSystem: fileSystem, options: options, entropy: entropy, lock: lock)
        } catch {
            lock.release()
            throw error
        }
    }

    /// What a start found.
    public struct Recovery: Sendable {
        public var identity: StorageIdentity
        public var restored: RestoredState
        /// Give it to a ``LogWriter``. Everything in `restored` is durable by now.
        public var log: RecoveredLogEnd
        /// Where a write that nobody was told about was cut off by a crash.
        public var tornTail: (path: String, offset: UInt64)?
        /// What this start found damaged and gave up: the log begins anew, and `restored` says what may be lost.
        public var damage: StorageError?
    }

    /// Reads the log, checks it, removes leftovers and begins a new life of the log. Once per opened directory.
    ///
    /// Damage to what was acknowledged makes the log begin anew behind the newest snapshot that is sound, in a term above all
    /// that this node promised anything in: the rest has to come from the other members (docs/DURABILITY.md).
    ///
    /// - Parameter check: reads a snapshot as its user will, and throws `corrupted` or `snapshotMissing` when it is no good; the
    ///   default looks at header, size and footer.
    /// - Parameter read: gets the log's entries while the rest is being read, as its files hold them: after damage, or when a later leader
    ///   replaced them, some come twice, and not all of them are in `restored`.
    /// - Throws: `corrupted` with file and offset when something acknowledged is unreadable and either the term of this node's
    ///   promises cannot be told, or there is no other voter to fetch anything from; nothing is changed then.
    public func recover(
        checking check: ((SnapshotDescriptor) throws(StorageError) -> Void)? = nil,
        reading read: ([Entry]) -> Void = { _ in }
    ) throws(StorageError) -> Recovery {
        let check = check ?? snapshots.check
        do throws(StorageError) {
            return try recoverUndamaged(checking: check, reading: read)
        } catch {
            guard error.isDamage else { throw error }
            try beginAnew(after: error, checking: check)
            var recovery = try recoverUndamaged(checking: check, reading: read)
            recovery.damage = error
            return recovery
        }
    }

    private func recoverUndamaged(
        checking check: (SnapshotDescriptor) throws(StorageError) -> Void, reading read: ([Entry]) -> Void
    ) throws(StorageError) -> Recovery {
        let directory = Self.logDirectory(path)
        let recovered = try LogRecovery(
            fileSystem: fileSystem, directory: directory, metadata: metadata.metadata,
            parallelReadBytes: options.parallelReadBytes
        ).run(reading: read)
        if let snapshot = recovered.state.snapshot { try check(snapshot) }
        var restored = RestoredState(
            hardState: recovered.state.hardState, configuration: recovered.state.baseConfiguration,
            snapshot: recovered.state.snapshot, compactedThrough: recovered.state.compactedThrough,
            entries: recovered.entries, lostThrough: metadata.metadata.lostThrough)
        if let contradiction = restored.contradiction {
            throw StorageError(
                .corrupted, "every checksum is right, but what the log says cannot be: \(contradiction)",
                path: SegmentPool.path(directory, recovered.active.ordinal), offset: 0)
        }
        restored.receiving = try snapshots.resumeReceived(after: recovered.state.snapshot)
        let pool: SegmentPool
        do throws(FileError) {
            if let header = recovered.repairsHeader {
                try recovered.active.file.writeBytes(header, at: 0)
                try recovered.active.file.synchronize()
            }
            pool = try makePool(recovered, directory)
        } catch {
            throw StorageError(error)
        }
        let log = WriteAheadLog(
            recovered: recovered, pool: pool, metadata: metadata, options: options, entropy: entropy)
        try log.begin()
        // Only now: the record that names another snapshot may have been no more than what a killed process wrote.
        try snapshots.removeLeftovers(keeping: recovered.state.snapshot)
        return Recovery(
            identity: identity, restored: restored,
            log: RecoveredLogEnd(log: log, metadata: metadata, options: options), tornTail: recovered.tornTail)
    }

    /// Lets go of the directory. After the log writer is closed.
    public func close() {
        metadata.closeFile()
        lock.release()
    }

    /// Files that directly follow the active segment and have the right size are used again; others are removed.
    private func makePool(_ recovered: RecoveredLog, _ directory: String) throws(FileError) -> SegmentPool {
        var prepared: [SegmentPool.Prepared] = []
        var discarded = recovered.obsolete
        var next = recovered.active.ordinal + 1
        for ordinal in recovered.prepared {
            let file = try fileSystem.open(SegmentPool.path(directory, ordinal))
            let size = try file.sizeBytes()
            if ordinal == next, size == UInt64(options.segmentBytes) {
                prepared.append(SegmentPool.Prepared(ordinal: ordinal, file: file, sizeBytes: Int(size)))
                next += 1
            } else {
                file.close()
                try fileSystem.remove(SegmentPool.path(directory, ordinal))
                try fileSystem.synchronizeDirectory(directory)
            }
        }
        discarded.sort()
        return SegmentPool(
            fileSystem: fileSystem, directory: directory, options: options, prepared: prepared, nextOrdinal: next,
            discarded: discarded)
    }

    private static func acquireLock(_ path: String, in fileSystem: any FileSystem) throws(StorageError) -> any FileLock
    {
        let lockPath = path + "/LOCK"
        do throws(FileError) {
            if let lock = try fileSystem.lock(lockPath) { return lock }
        } catch {
            throw StorageError(error)
        }
        throw StorageError(.locked, "another process uses the directory", path: lockPath)
    }

    /// A first segment with nothing but a header is what an interrupted creation leaves; anything more is somebody's log.
    private static func refuseOrphanedLog(_ path: String, in fileSystem: any FileSystem) throws(StorageError) {
        let directory = logDirectory(path)
        var orphan: String?
        do throws(FileError) {
            for name in try fileSystem.list(directory) where name.hasSuffix(SegmentPool.suffix) {
                let file = try fileSystem.open(directory + "/" + name)
                defer { file.close() }
                let start = try file.readBytes(64 << 10, at: 0)
                let isOrphan = start.withUnsafeBytes { bytes -> Bool in
                    guard case .header(let header, let offset, _, _) = SegmentHeader.read(bytes) else { return false }
                    guard header.ordinal == 1, offset + RecordHeader.bytes <= bytes.count else { return true }
                    return RecordHeader.read(bytes.baseAddress! + offset, salt: header.salt) != nil
                }
                if isOrphan { orphan = directory + "/" + name }
            }
        } catch {
            throw StorageError(error)
        }
        if let orphan {
            throw StorageError(
                .alreadyInitialized, "there is a log but no metadata file beside it; it was lost or moved", path: orphan
            )
        }
    }

    static func logDirectory(_ path: String) -> String { path + "/log" }
    private static func snapshotDirectory(_ path: String) -> String { path + "/snapshots" }
    private static func metadataPath(_ path: String) -> String { path + "/metadata" }
}

/// Where a recovered log goes on; opaque, for ``LogWriter``.
public struct RecoveredLogEnd: Sendable {
    package let log: WriteAheadLog
    let metadata: MetadataFile
    let options: StorageOptions
}
