internal import EsperTypes
internal import RaftCore

/// Rebuilds the log from its records, in order.
struct LogReplay {
    private(set) var state: LogState
    /// What is held: consecutive, the first follows `floor`.
    private(set) var entries: [Entry] = []
    private var floor: LogIndex
    /// The highest index any record so far carried.
    private(set) var highestIndex: LogIndex

    init(from state: LogState) {
        self.state = state
        floor = state.lastIndex
        highestIndex = state.lastIndex
    }

    /// - Returns: what is wrong, or nil.
    mutating func apply(_ step: ReplayStep) -> String? {
        switch step {
        case .entries(let new): return append(new)
        case .hardState(let hardState): state.hardState = hardState
        case .truncate(let first):
            guard first > state.compactedThrough.index else {
                return "a truncation at \(first), but the log is compacted through \(state.compactedThrough)"
            }
            truncate(from: first)
        case .installedSnapshot(let snapshot):
            state.snapshot = snapshot
            compact(through: snapshot.id)
        case .compaction(let snapshot, let through):
            state.snapshot = snapshot
            if through > state.compactedThrough { compact(through: through) }
        case .unreadable(let problem): return problem
        }
        return nil
    }

    /// The entries after the compaction mark; nil when some of them are in no segment that is left.
    mutating func finish() -> [Entry]? {
        guard floor <= state.compactedThrough.index else { return nil }
        let surplus = min(entries.count, state.compactedThrough.index.distance(from: floor))
        if surplus > 0 { entries.removeFirst(surplus) }
        return entries
    }

    var missingFrom: LogIndex { state.compactedThrough.index.next }

    private mutating func append(_ new: [Entry]) -> String? {
        for entry in new {
            guard entry.index == state.lastIndex.next else { return "entry \(entry.id) after index \(state.lastIndex)" }
            state.lastIndex = entry.index
        }
        highestIndex = max(highestIndex, state.lastIndex)
        entries.append(contentsOf: new)
        return nil
    }

    private mutating func truncate(from first: LogIndex) {
        guard first <= state.lastIndex else { return }
        state.lastIndex = first.previous
        if first <= floor {
            entries.removeAll()
            floor = first.previous
        } else {
            entries.removeLast(entries.count - first.distance(from: floor.next))
        }
    }

    private mutating func compact(through id: EntryID) {
        state.compactedThrough = id
        if state.lastIndex < id.index {
            state.lastIndex = id.index
            entries.removeAll()
            floor = id.index
            return
        }
        // The front is dropped in large steps: each costs as much as what remains.
        let surplus = id.index.distance(from: floor)
        if surplus > 0, surplus * 2 > entries.count {
            entries.removeFirst(surplus)
            floor = id.index
        }
    }
}
