import EsperTypes
import RaftCore
import RaftStorage
import Synchronization

/// A seeded generator (SplitMix64): one seed, one run.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

/// Numbers that never repeat, for salts.
func entropy(_ seed: UInt64) -> @Sendable () -> UInt64 {
    let generator = Mutex(Seeded(seed))
    return { generator.withLock { $0.next() } }
}

let identity = StorageIdentity(cluster: ClusterID(0xc1), node: NodeID(1), incarnation: Incarnation(0x11))
let firstConfiguration = Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)])

/// Small enough that a few batches fill a segment.
let smallOptions = StorageOptions(segmentBytes: 8 << 10, sectorBytes: 512, spareSegments: 1, maximumGroupBytes: 2048)

func entry(_ term: UInt64, _ index: UInt64, bytes: Int = 40) -> Entry {
    Entry(
        id: EntryID(term: Term(term), index: LogIndex(index)), kind: .command,
        payload: (0..<bytes).map { UInt8(truncatingIfNeeded: UInt64($0) &* 31 &+ index &* 7 &+ term) })
}

func snapshotContent(_ id: EntryID, bytes: Int = 900) -> [UInt8] {
    (0..<bytes).map { UInt8(truncatingIfNeeded: UInt64($0) &* 13 &+ id.index.rawValue) }
}

func descriptor(_ id: EntryID, bytes: Int = 900) -> SnapshotDescriptor {
    SnapshotDescriptor(
        id: id, configuration: firstConfiguration, configurationIndex: .zero, sizeBytes: UInt64(bytes),
        checksum: CRC32C.checksum(snapshotContent(id, bytes: bytes)), stateHash: id.index.rawValue)
}

/// What a log holds, computed the obvious way.
struct Model: Equatable {
    var hardState = HardState()
    var snapshot: SnapshotDescriptor?
    var compactedThrough = EntryID.zero
    var entries: [Entry] = []

    var last: EntryID { entries.last?.id ?? compactedThrough }

    func id(at index: LogIndex) -> EntryID? {
        index == compactedThrough.index ? compactedThrough : entries.first { $0.index == index }?.id
    }

    mutating func apply(_ batch: WriteBatch) {
        if let hardState = batch.hardState { self.hardState = hardState }
        if let first = batch.truncateFrom { entries.removeAll { $0.index >= first } }
        if let snapshot = batch.installedSnapshot {
            self.snapshot = snapshot
            compactedThrough = snapshot.id
            entries.removeAll { $0.index <= snapshot.index }
        }
        entries += batch.entries
        if let compaction = batch.compaction {
            snapshot = compaction.snapshot
            if compaction.through > compactedThrough {
                compactedThrough = compaction.through
                entries.removeAll { $0.index <= compaction.through.index }
            }
        }
    }

    init() {}

    init(_ restored: RestoredState) {
        hardState = restored.hardState
        snapshot = restored.snapshot
        compactedThrough = restored.compactedThrough
        entries = restored.entries
    }
}

/// Draws batches that a RaftNode could hand over.
struct BatchSource {
    var generator: Seeded
    private(set) var model = Model()
    private var sequence: UInt64 = 0

    init(seed: UInt64, model: Model = Model()) {
        generator = Seeded(seed)
        self.model = model
    }

    /// The next batch, with the snapshot that must be in its place before it is written.
    mutating func next() -> (batch: WriteBatch, snapshot: SnapshotDescriptor?) {
        sequence += 1
        var batch = WriteBatch(sequence: WriteSequence(sequence))
        var after = model
        var snapshot: SnapshotDescriptor?
        if Int.random(in: 0..<4, using: &generator) == 0 {
            batch.hardState = HardState(
                term: Term(model.hardState.term.rawValue + 1),
                vote: Bool.random(using: &generator) ? NodeID(UInt64.random(in: 1...3, using: &generator)) : nil)
            after.hardState = batch.hardState ?? after.hardState
        }
        // Whatever the snapshot covers is committed and stays.
        let lowest = max(after.compactedThrough.index, after.snapshot?.index ?? .zero).next
        if Int.random(in: 0..<6, using: &generator) == 0, lowest <= after.last.index {
            let first = LogIndex(UInt64.random(in: lowest.rawValue...after.last.index.rawValue, using: &generator))
            batch.truncateFrom = first
            after.entries.removeAll { $0.index >= first }
        }
        if Int.random(in: 0..<25, using: &generator) == 0 {
            let ahead = UInt64.random(in: 1...5, using: &generator)
            let id = EntryID(
                term: max(after.hardState.term, after.last.term), index: after.last.index.advanced(by: Int(ahead)))
            snapshot = descriptor(id)
            batch.installedSnapshot = snapshot
            after.entries = []
            after.compactedThrough = id
            after.snapshot = snapshot
        }
        let term = max(after.hardState.term, after.last.term)
        for _ in 0..<Int.random(in: 0...4, using: &generator) {
            let new = entry(
                term.rawValue, after.last.index.rawValue + 1, bytes: Int.random(in: 0...200, using: &generator))
            batch.entries.append(new)
            after.entries.append(new)
        }
        if batch.installedSnapshot == nil, Int.random(in: 0..<9, using: &generator) == 0, let last = after.entries.last
        {
            let floor = max(after.snapshot?.index ?? .zero, after.compactedThrough.index)
            let index = LogIndex(
                UInt64.random(in: min(floor, last.index).rawValue...last.index.rawValue, using: &generator))
            let through = LogIndex(
                UInt64.random(in: after.compactedThrough.index.rawValue...index.rawValue, using: &generator))
            if let id = after.id(at: index), let throughID = after.id(at: through), index > floor {
                snapshot = descriptor(id)
                batch.compaction = Compaction(snapshot: descriptor(id), through: throughID)
            }
        }
        model.apply(batch)
        return (batch, snapshot)
    }
}

/// One node's storage, driven step by step on this thread.
struct Store {
    let directory: DataDirectory
    let restored: RestoredState
    let log: WriteAheadLog
    let recovery: DataDirectory.Recovery

    static let path = "/data"

    static func create(on disk: SimulatedFileSystem, options: StorageOptions = smallOptions) throws(StorageError) {
        try DataDirectory.create(
            path, identity: identity, configuration: firstConfiguration, in: disk, options: options, entropy: entropy(1)
        )
    }

    init(on disk: SimulatedFileSystem, options: StorageOptions = smallOptions, seed: UInt64 = 2) throws(StorageError) {
        directory = try DataDirectory.open(Self.path, in: disk, options: options, entropy: entropy(seed))
        do throws(StorageError) { recovery = try directory.recover() } catch {
            directory.close()
            throw error
        }
        restored = recovery.restored
        log = recovery.log.log
    }

    /// Puts the batch's snapshot in place, then writes the batch.
    func write(_ batch: WriteBatch, snapshot: SnapshotDescriptor? = nil) throws(StorageError) {
        if let snapshot { try receive(snapshot) }
        try log.write([batch])
    }

    func receive(_ descriptor: SnapshotDescriptor) throws(StorageError) {
        let content = snapshotContent(descriptor.id, bytes: Int(descriptor.sizeBytes))
        let half = content.count / 2
        try directory.snapshots.receive(descriptor, offset: 0, bytes: [UInt8](content[..<half]), isLast: false)
        try directory.snapshots.receive(
            descriptor, offset: UInt64(half), bytes: [UInt8](content[half...]), isLast: true)
    }

    func maintain() throws(StorageError) { if let refusal = try log.maintain() { throw refusal } }

    func close() throws(StorageError) {
        try log.close()
        directory.close()
    }
}
