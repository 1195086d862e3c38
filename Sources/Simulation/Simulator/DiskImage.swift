import EsperTypes
import RaftCore

/// What a restart would find.
struct DiskImage: Hashable {
    var hardState = HardState()
    var snapshot: SnapshotDescriptor?
    var compactedThrough = EntryID.zero
    var entries: [Entry] = []

    init() {}

    init(_ restored: RestoredState) {
        hardState = restored.hardState
        snapshot = restored.snapshot
        compactedThrough = restored.compactedThrough
        entries = restored.entries
    }

    var summary: String {
        "\(hardState), a log \(compactedThrough)...\(last) and snapshot \(snapshot?.id.description ?? "none")"
    }

    var last: EntryID { entries.last?.id ?? compactedThrough }

    func holds(_ id: EntryID) -> Bool {
        if id.index <= compactedThrough.index { return true }
        let offset = id.index.distance(from: compactedThrough.index) - 1
        return offset < entries.count && entries[offset].id == id
    }

    /// Whether a node can start from this.
    func checkStart(of node: Int) throws(SimulationFailure) {
        let covered = snapshot?.index ?? .zero
        guard compactedThrough.index <= covered, covered <= last.index, last.term <= hardState.term,
            entries.first.map({ $0.term >= compactedThrough.term }) ?? true
        else {
            throw SimulationFailure(.durability, "n\(node + 1) cannot start from \(summary)")
        }
    }

    /// - Throws: what is wrong with the batch.
    mutating func write(_ batch: WriteBatch, _ mutant: Mutant? = nil) throws(SimulationFailure) {
        if let hardState = batch.hardState {
            guard hardState.term >= self.hardState.term else {
                throw SimulationFailure(.monotonicTerm, "\(self.hardState) was overwritten by \(hardState)")
            }
            self.hardState = hardState
        }
        let keepsLog = mutant == .keepsLogUnderSnapshot && batch.installedSnapshot != nil
        if let index = batch.truncateFrom, !keepsLog {
            guard index > compactedThrough.index else {
                throw SimulationFailure(
                    .driverContract, "cut at \(index), the log begins after \(compactedThrough)")
            }
            entries.removeSubrange(min(entries.count, index.distance(from: compactedThrough.index) - 1)...)
        }
        if let installed = batch.installedSnapshot {
            snapshot = installed
            drop(through: installed.id, keepsLog: keepsLog)
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

    mutating func drop(through id: EntryID, keepsLog: Bool = false) {
        let count = id.index.distance(from: compactedThrough.index)
        guard count >= 0 else { return }
        if count > 0, count <= entries.count, entries[count - 1].id != id, !keepsLog {
            // A conflicting log is dropped as a whole (§7).
            entries.removeAll()
        } else {
            entries.removeFirst(min(entries.count, count))
        }
        compactedThrough = id
    }
}
