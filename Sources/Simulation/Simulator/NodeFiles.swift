import EsperTypes
import RaftCore
import RaftStorage
import Synchronization

/// A node's data directory: the real log and snapshot files (`RaftStorage`), on a disk in memory that loses, tears and
/// rots what a real one may.
///
/// Everything is done at the moment at which it is called; that a write takes time is the caller's concern, who calls
/// when it is over, or ``crash(during:)`` when it never will be. Now and then the process dies in the middle of what is
/// asked, at any of its operations: then ``isDead``, and the caller crashes the node.
final class NodeFiles {
    /// What a start found.
    struct Start {
        var restored: RestoredState
        /// What was damaged and given up.
        var damage: StorageError?
    }

    let fileSystem = SimulatedFileSystem()
    let options: StorageOptions
    private let entropy: @Sendable () -> UInt64
    var random: SeededRandom
    private(set) var directory: DataDirectory?
    private var log: WriteAheadLog?
    /// Where the last write that was told of lies; what is before it in the log has left word of itself in it.
    private(set) var lastGroup: (path: String, offset: Int)?
    /// Of a thousand pieces of work so many end in the middle; of writes a tenth of that, because there are so many.
    private var deathPerMille: Int
    /// The next work that is no write of the log fails at one of its operations.
    private var failsOtherWork = false
    /// How many did.
    private(set) var deaths = 0
    static let path = "/data"

    /// - Parameter segmentBytes: how large a file of the log is.
    init(
        node: NodeID, configuration: Configuration, segmentBytes: Int, deathPerMille: Int, mutant: Mutant?,
        random: SeededRandom
    ) {
        var random = random
        // Snapshots here are small, and shall be cut off after a sync too.
        options = StorageOptions(
            segmentBytes: segmentBytes, maximumGroupBytes: segmentBytes / 2, snapshotSyncBytes: 512)
        let source = Mutex(random.split())
        entropy = { source.withLock { $0.next() } }
        self.random = random
        self.deathPerMille = 0
        let identity = StorageIdentity(
            cluster: ClusterID(rawValue: 1), node: node, incarnation: Incarnation(rawValue: node.rawValue))
        do throws(StorageError) {
            try DataDirectory.create(
                Self.path, identity: identity, configuration: configuration, in: fileSystem, options: options,
                entropy: entropy)
            _ = try start()
        } catch {
            preconditionFailure("a new data directory cannot be used: \(error)")
        }
        self.deathPerMille = deathPerMille
        if let mutant { fileSystem.forgetSynchronizations { mutant.forgetsToSynchronize($0) } }
        if mutant == .retriesFailedSync { fileSystem.retrySynchronizations() }
    }

    // MARK: Deaths

    /// The process died in what was asked last.
    var isDead: Bool { fileSystem.isStopped }

    /// Whether a sync has failed in this life.
    var hasFailedSync: Bool { fileSystem.hasFailedToSynchronize }

    /// Does something to the files, or the beginning of it.
    ///
    /// - Parameter share: it is the last thing of a life so many times less often than others.
    /// - Throws: `closed` when the process died.
    private func mayDie<Result>(
        share: Int = 1, _ work: () throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        if share == 1, failsOtherWork {
            failsOtherWork = false
            fileSystem.failOperation(random.int(in: 0...12))
        }
        guard deathPerMille > 0, random.chance(deathPerMille, in: 1000 * share) else { return try work() }
        stopSoon()
        defer { if !isDead { fileSystem.stop(after: nil) } }
        let result: Result
        do throws(StorageError) { result = try work() } catch { throw isDead ? died() : error }
        if isDead { throw died() }
        return result
    }

    /// At any of the next operations; what is asked may take two of them or two hundred.
    private func stopSoon() { fileSystem.stop(after: random.int(in: 0...2 << random.int(in: 0...6))) }

    private func died() -> StorageError {
        deaths += 1
        return StorageError(.closed, "the process died", path: Self.path)
    }

    // MARK: The log

    /// Writes and syncs batches, and prepares the files that come next.
    func write(_ batches: [WriteBatch]) throws(StorageError) {
        guard let log else { throw StorageError(.closed, "the node is down", path: Self.path) }
        try mayDie(share: 10) { () throws(StorageError) in try log.write(batches) }
        lastGroup = log.lastGroup
    }

    /// Reserves the space that is needed next, as another thread of the node does.
    ///
    /// - Returns: why there is none; nil: there is.
    /// - Throws: what ends the process.
    func reserve() throws(StorageError) -> StorageError? {
        guard let log, log.pool.wantsWork else { return nil }
        return try mayDie { () throws(StorageError) in try log.maintain() }
    }

    /// Nothing is being written for the moment: the log may say so, without a sync.
    func fallIdle() throws(StorageError) {
        try mayDie(share: 10) { () throws(StorageError) in try log?.writeIdleMark() }
    }

    /// The process ends in the middle of a write: some of its operations are done, the others not at all. When it died in other
    /// work, the log's own thread may have come further than that.
    func crash(during batches: [WriteBatch]) {
        if !batches.isEmpty {
            stopSoon()
            // It fails, or was done before: the next start finds out.
            try? log?.write(batches)
        }
        end()
    }

    /// A process that was killed has left to the kernel what it wrote, which the next life reads and a loss of power may take yet.
    /// When power is lost, any of the sectors that were not synced are lost, any torn to garbage.
    private func end() {
        log = nil
        directory = nil
        if random.chance(1, in: 3) { return fileSystem.kill() }
        fileSystem.crash({ random.int(in: 0...$0 - 1) }, fates: [.lost, .kept, .kept, .garbage])
    }

    /// Reads everything back; after a death in the middle of that it may be tried again at once.
    func start() throws(StorageError) -> Start {
        do throws(StorageError) {
            return try mayDie { () throws(StorageError) in try open() }
        } catch {
            if isDead { end() } else { fileSystem.kill() }
            throw error
        }
    }

    private func open() throws(StorageError) -> Start {
        let directory = try DataDirectory.open(Self.path, in: fileSystem, options: options, entropy: entropy)
        let recovery: DataDirectory.Recovery
        do throws(StorageError) {
            recovery = try directory.recover { descriptor throws(StorageError) in
                // Whatever it reads was checked.
                _ = try Self.read(descriptor, from: directory.snapshots)
            }
        } catch {
            directory.close()
            throw error
        }
        self.directory = directory
        log = recovery.log.log
        lastGroup = recovery.log.log.lastGroup
        return Start(restored: recovery.restored, damage: recovery.damage)
    }

    // MARK: Faults

    /// One of the next operations fails, and with it whatever it was for: mostly a write of the log, because there are so many, or
    /// one of the next work of any other kind.
    func failSoon() {
        failsOtherWork = random.chance(1, in: 2)
        if !failsOtherWork { fileSystem.failOperation(random.int(in: 0...5)) }
    }

    /// The disk works again, with room enough, and no process dies any more.
    func repair() {
        deathPerMille = 0
        failsOtherWork = false
        fileSystem.failOperation(nil)
        fileSystem.setFreeBytes(.max)
    }

    /// - Parameter bytes: how much files may still grow; nil is without end.
    func setFreeBytes(_ bytes: Int?) { fileSystem.setFreeBytes(bytes ?? .max) }

    // MARK: Snapshots

    func store(_ descriptor: SnapshotDescriptor, _ bytes: [UInt8]) throws(StorageError) {
        guard let snapshots = directory?.snapshots else { return }
        try mayDie { () throws(StorageError) in
            let writer = try snapshots.begin(descriptor)
            do throws(StorageError) {
                try writer.append(bytes)
                _ = try writer.finish(stateHash: descriptor.stateHash)
            } catch {
                writer.abandon()
                throw error
            }
        }
    }

    func prune(keeping descriptors: [SnapshotDescriptor]) throws(StorageError) {
        try mayDie { () throws(StorageError) in try directory?.snapshots.prune(keeping: descriptors) }
    }

    func read(_ descriptor: SnapshotDescriptor) throws(StorageError) -> [UInt8] {
        guard let snapshots = directory?.snapshots else {
            throw StorageError(.closed, "the node is down", path: Self.path)
        }
        return try Self.read(descriptor, from: snapshots)
    }

    /// The content as it stands in the file, right or wrong.
    func readUnchecked(_ descriptor: SnapshotDescriptor) -> [UInt8]? {
        directory.flatMap { fileSystem.contents($0.snapshots.path(descriptor)) }.map { file in
            Array(file.dropFirst(4096).prefix(Int(descriptor.sizeBytes)))
        }
    }

    static func read(
        _ descriptor: SnapshotDescriptor, from snapshots: SnapshotStore
    ) throws(StorageError) -> [UInt8] {
        let reader = try snapshots.open(descriptor)
        defer { reader.close() }
        return try reader.read(at: 0, maximumBytes: Int(descriptor.sizeBytes)).bytes
    }

    func receive(
        _ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool
    ) throws(StorageError) -> UInt64 {
        guard let snapshots = directory?.snapshots else {
            throw StorageError(.closed, "the node is down", path: Self.path)
        }
        return try mayDie { () throws(StorageError) in
            try snapshots.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast)
        }
    }
}
