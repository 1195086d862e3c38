import EsperTypes
import RaftCore

/// A disk in memory that finishes writes when it is told and forgets the unfinished ones in a crash.
struct TestDisk {
    private(set) var hardState = HardState()
    private(set) var configuration: Configuration
    private(set) var snapshot: SnapshotDescriptor?
    private(set) var base = EntryID.zero
    private(set) var entries: [Entry] = []
    private(set) var lostThrough: Term?
    private(set) var durable = WriteSequence.zero
    private(set) var pending: [(batch: WriteBatch, at: Instant)] = []
    /// A frozen disk accepts writes and finishes none.
    var isFrozen = false

    init(configuration: Configuration) { self.configuration = configuration }

    var restored: RestoredState {
        RestoredState(
            hardState: hardState, configuration: configuration, snapshot: snapshot, compactedThrough: base,
            entries: entries, lostThrough: lostThrough)
    }

    mutating func restore(_ state: RestoredState) {
        hardState = state.hardState
        configuration = state.configuration
        snapshot = state.snapshot
        base = state.compactedThrough
        entries = state.entries
        lostThrough = state.lostThrough
    }

    /// Loses everything to damage; what storage does about it is in docs/DURABILITY.md.
    mutating func damage(of node: NodeID) {
        lostThrough = hardState.term
        hardState = HardState(term: hardState.term.next, vote: node)
        snapshot = nil
        base = .zero
        entries = []
    }

    mutating func write(_ batch: WriteBatch, doneAt: Instant) {
        precondition(batch.sequence > (pending.last?.batch.sequence ?? durable), "sequence \(batch.sequence) again")
        pending.append((batch, doneAt))
    }

    var nextCompletion: Instant { isFrozen ? .distantFuture : pending.first?.at ?? .distantFuture }

    /// - Returns: the newest durable write, when some write finished.
    mutating func complete(at now: Instant) -> WriteSequence? {
        var finished: WriteSequence?
        while !isFrozen, let first = pending.first, first.at <= now {
            apply(first.batch)
            durable = first.batch.sequence
            finished = durable
            pending.removeFirst()
        }
        return finished
    }

    mutating func crash() {
        pending.removeAll()
        durable = .zero
        isFrozen = false
    }

    private mutating func apply(_ batch: WriteBatch) {
        if let hardState = batch.hardState { self.hardState = hardState }
        if let index = batch.truncateFrom { entries.removeAll { $0.index >= index } }
        if let installed = batch.installedSnapshot {
            entries.removeAll { $0.index <= installed.index }
            base = installed.id
            snapshot = installed
        }
        for entry in batch.entries {
            precondition(entry.index == (entries.last?.index ?? base.index).next, "a hole before \(entry.id) on disk")
            entries.append(entry)
        }
        if let compaction = batch.compaction {
            snapshot = compaction.snapshot
            entries.removeAll { $0.index <= compaction.through.index }
            if compaction.through.index > base.index { base = compaction.through }
        }
    }
}
