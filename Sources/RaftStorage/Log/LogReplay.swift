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

    /// - Returns: what is wrong, or nil. Only a record with right checksums comes here, so anything wrong means that
    ///   its writer and this reader disagree.
    mutating func apply(_ header: RecordHeader, payload: UnsafeRawBufferPointer) -> String? {
        switch header.kind {
        case .entry: return append(header, payload: payload)
        case .hardState:
            var reader = ByteReader([UInt8](payload))
            guard let hardState = try? reader.readHardState() else { return "an unreadable hard state" }
            state.hardState = hardState
        case .truncate:
            let first = LogIndex(header.index)
            guard first > state.compactedThrough.index else {
                return "a truncation at \(first), but the log is compacted through \(state.compactedThrough)"
            }
            truncate(from: first)
        case .installedSnapshot:
            var reader = ByteReader([UInt8](payload))
            guard let snapshot = try? reader.readDescriptor() else { return "an unreadable snapshot descriptor" }
            state.snapshot = snapshot
            compact(through: snapshot.id)
        case .compaction:
            var reader = ByteReader([UInt8](payload))
            guard let snapshot = try? reader.readDescriptor(), let through = try? reader.readEntryID() else {
                return "an unreadable compaction"
            }
            state.snapshot = snapshot
            if through > state.compactedThrough { compact(through: through) }
        case .opened, .idleMark: break
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

    private mutating func append(_ header: RecordHeader, payload: UnsafeRawBufferPointer) -> String? {
        let id = EntryID(term: Term(header.term), index: LogIndex(header.index))
        guard id.index == state.lastIndex.next else { return "entry \(id) after index \(state.lastIndex)" }
        guard let kind = EntryKind(rawValue: header.entryKind) else { return "an entry of kind \(header.entryKind)" }
        entries.append(Entry(id: id, kind: kind, payload: [UInt8](payload)))
        state.lastIndex = id.index
        highestIndex = max(highestIndex, id.index)
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
