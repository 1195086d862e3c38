import EsperTypes
import RaftCore

/// A node's log device and snapshot directory: what a crash leaves is what was durable.
///
/// Batches become durable in order and in groups, as one synced write takes all that wait. A crash keeps any
/// prefix of the group that is being written and nothing after it; finished snapshot files stay.
struct Disk {
    /// What a restart would find.
    struct Image {
        var hardState = HardState()
        var snapshot: SnapshotDescriptor?
        var compactedThrough = EntryID.zero
        var entries: [Entry] = []

        var last: EntryID { entries.last?.id ?? compactedThrough }

        func holds(_ id: EntryID) -> Bool {
            if id.index <= compactedThrough.index { return true }
            let offset = id.index.distance(from: compactedThrough.index) - 1
            return offset < entries.count && entries[offset].id == id
        }

        /// - Throws: what is wrong with the batch.
        mutating func write(_ batch: WriteBatch) throws(SimulationFailure) {
            if let hardState = batch.hardState {
                guard hardState.term >= self.hardState.term else {
                    throw SimulationFailure(.monotonicTerm, "\(self.hardState) was overwritten by \(hardState)")
                }
                self.hardState = hardState
            }
            if let index = batch.truncateFrom {
                guard index > compactedThrough.index else {
                    throw SimulationFailure(
                        .driverContract, "cut at \(index), the log begins after \(compactedThrough)")
                }
                entries.removeSubrange(min(entries.count, index.distance(from: compactedThrough.index) - 1)...)
            }
            if let installed = batch.installedSnapshot {
                snapshot = installed
                drop(through: installed.id)
            }
            if let first = batch.entries.first {
                guard first.index == last.index.next else {
                    throw SimulationFailure(.driverContract, "entry \(first.id) was written after \(last)")
                }
                entries.append(contentsOf: batch.entries)
            }
            if let compaction = batch.compaction {
                snapshot = compaction.snapshot
                guard compaction.through.index <= compaction.snapshot.index,
                    compaction.through.index <= last.index
                else { throw SimulationFailure(.driverContract, "\(compaction) of a log that ends at \(last)") }
                drop(through: compaction.through)
            }
        }

        private mutating func drop(through id: EntryID) {
            let count = id.index.distance(from: compactedThrough.index)
            guard count >= 0 else { return }
            if count > 0, count <= entries.count, entries[count - 1].id != id {
                // A conflicting log is dropped as a whole (§7).
                entries.removeAll()
            } else {
                entries.removeFirst(min(entries.count, count))
            }
            compactedThrough = id
        }
    }

    private(set) var image = Image()
    /// Handed over, oldest first; the first ``inFlight`` are being written.
    private var waiting: [WriteBatch] = []
    private var inFlight = 0
    private(set) var files: [(descriptor: SnapshotDescriptor, bytes: [UInt8])] = []
    /// A snapshot that is being received; a crash forgets it.
    private var incoming: (descriptor: SnapshotDescriptor, bytes: [UInt8])?

    var isIdle: Bool { inFlight == 0 }

    var hasWaiting: Bool { waiting.count > inFlight }

    mutating func append(_ batch: WriteBatch) { waiting.append(batch) }

    /// Begins to write everything that waits.
    mutating func beginWrite() { inFlight = waiting.count }

    /// The write is synced.
    ///
    /// - Returns: the last sequence that is durable.
    mutating func finishWrite() throws(SimulationFailure) -> WriteSequence? {
        let last = waiting.prefix(inFlight).last?.sequence
        for batch in waiting.prefix(inFlight) { try image.write(batch) }
        waiting.removeFirst(inFlight)
        inFlight = 0
        return last
    }

    /// Power is lost.
    ///
    /// - Returns: how many batches were lost.
    mutating func crash(using random: inout SeededRandom) throws(SimulationFailure) -> Int {
        let survivors = inFlight == 0 ? 0 : random.int(in: 0...inFlight)
        for batch in waiting.prefix(survivors) { try image.write(batch) }
        let lost = waiting.count - survivors
        waiting.removeAll()
        inFlight = 0
        incoming = nil
        return lost
    }

    /// Rolls durable state back: what only a broken disk does.
    mutating func forgetTail(_ count: Int) {
        // What a snapshot covers is in its file.
        let above = image.last.index.distance(from: max(image.compactedThrough.index, image.snapshot?.index ?? .zero))
        image.entries.removeLast(max(0, min(count, above)))
    }

    mutating func forgetVote() { image.hardState.vote = nil }

    // MARK: Snapshots

    mutating func store(_ descriptor: SnapshotDescriptor, _ bytes: [UInt8]) {
        files.removeAll { $0.descriptor == descriptor }
        files.append((descriptor, bytes))
    }

    /// Removes files older than the one the durable log names, unless a transfer uses them.
    mutating func prune(keeping used: [SnapshotDescriptor]) {
        guard let named = image.snapshot else { return }
        files.removeAll { $0.descriptor.index < named.index && !used.contains($0.descriptor) }
    }

    func snapshot(_ descriptor: SnapshotDescriptor) -> [UInt8]? {
        files.first { $0.descriptor == descriptor }?.bytes
    }

    enum Receipt {
        case written(UInt64)
        case installed
        case failed
    }

    mutating func receive(
        _ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool
    ) -> Receipt {
        if offset == 0 { incoming = (descriptor, []) }
        guard incoming?.descriptor == descriptor, UInt64(incoming?.bytes.count ?? 0) == offset else { return .failed }
        incoming?.bytes.append(contentsOf: bytes)
        let received = incoming?.bytes ?? []
        guard isLast else { return .written(UInt64(received.count)) }
        incoming = nil
        guard UInt64(received.count) == descriptor.sizeBytes, CRC32C.checksum(received) == descriptor.checksum else {
            return .failed
        }
        store(descriptor, received)
        return .installed
    }
}
