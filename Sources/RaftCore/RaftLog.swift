import DequeModule
import EsperTypes

/// The log since the last compaction, and how much of it is on disk.
///
/// Each batch handed to storage leaves a mark: its sequence and how far the log reached. A truncation pulls the
/// marks back with it, so a completion that arrives late can never vouch for entries that replaced the ones it wrote:
/// nothing is matched by index and term (the ABA race of asynchronous appends cannot be expressed).
///
/// Invariants: entries are consecutive after `base` with terms that never fall; `durable <= handedOver <= last.index`
/// except that `durable` may lie before a snapshot that is being installed; marks rise in sequence and never fall in reach.
struct RaftLog: Sendable {
    struct Mark: Sendable {
        var sequence: WriteSequence
        /// The last entry that is durable when this write is.
        var reach: LogIndex
        var issuedAt: Instant
    }

    struct ConfigurationRecord: Hashable, Sendable {
        var index: LogIndex
        var configuration: Configuration
    }

    /// The entry right before the first one held.
    private(set) var base: EntryID
    private(set) var entries: [Entry]
    /// Payload bytes through each entry, counted from where the log once began: how much lies between two is a
    /// subtraction, however long the log is.
    private var ends: [Int] = []
    /// The same through the base.
    private var baseEnd = 0
    /// The highest prefix of this very log that is durable.
    private(set) var durable: LogIndex
    /// The last entry that some write batch carried.
    private(set) var handedOver: LogIndex
    /// Writes on their way, oldest first.
    private(set) var marks: Deque<Mark> = []
    /// Every configuration the log holds, oldest first; the last one is in force. Never empty.
    private(set) var configurations: [ConfigurationRecord]
    /// What storage still has to drop.
    private var truncateFrom: LogIndex?
    /// Arrays whose entries are not in the log any more. To let go of a million entries takes longer than a heartbeat may
    /// be late, so that is left to the driver.
    private var discarded: [[Entry]] = []

    init(restored: RestoredState) {
        base = restored.compactedThrough
        entries = restored.entries
        ends.reserveCapacity(restored.entries.count)
        for entry in restored.entries { ends.append((ends.last ?? 0) + entry.payload.count) }
        let last = restored.entries.last?.index ?? base.index
        durable = last
        handedOver = last
        let floor = restored.snapshot
        configurations = [
            ConfigurationRecord(
                index: floor?.configurationIndex ?? .zero,
                configuration: floor?.configuration ?? restored.configuration)
        ]
        precondition(base.index <= (floor?.index ?? .zero), "the log begins after \(base), the snapshot ends before it")
        precondition(last >= (floor?.index ?? .zero), "the log ends at \(last), before the snapshot")
        for entry in restored.entries where entry.index > (floor?.index ?? .zero) { noteConfiguration(of: entry) }
    }

    // MARK: Looking

    var first: LogIndex { base.index.next }
    var last: EntryID { entries.last?.id ?? base }
    var configuration: ConfigurationRecord { configurations[configurations.count - 1] }
    var isEmpty: Bool { entries.isEmpty }

    /// The term of an entry, or of the base; nil outside.
    func term(at index: LogIndex) -> Term? {
        if index == base.index { return base.term }
        guard index > base.index, index <= last.index else { return nil }
        return entries[offset(of: index)].term
    }

    /// The identity of an entry, or of the base; nil outside.
    func id(at index: LogIndex) -> EntryID? {
        term(at: index).map { EntryID(term: $0, index: index) }
    }

    func holds(_ id: EntryID) -> Bool { term(at: id.index) == id.term }

    func offset(of index: LogIndex) -> Int { index.distance(from: base.index) - 1 }

    /// Copies a range: one allocation, payloads shared.
    func slice(from lower: LogIndex, through upper: LogIndex) -> [Entry] {
        guard lower <= upper else { return [] }
        precondition(lower > base.index && upper <= last.index, "\(lower)...\(upper) of a log \(base)...\(last)")
        return Array(entries[offset(of: lower)...offset(of: upper)])
    }

    /// The first entry of a range that nobody may see before every holder has it.
    func firstGuarded(from lower: LogIndex, through upper: LogIndex) -> LogIndex? {
        guard lower <= upper else { return nil }
        return entries[offset(of: lower)...offset(of: upper)].first { $0.isGuarded }?.index
    }

    /// The last entry beyond `index` that nobody may see before every holder has it; the base when that is beyond it, as what is in a
    /// snapshot is not known.
    func lastGuarded(after index: LogIndex) -> LogIndex? {
        let from = max(index, base.index)
        let found = entries[offset(of: from.next)...].last { $0.isGuarded }?.index
        return found ?? (base.index > index ? base.index : nil)
    }

    /// How far one append from `lower` reaches within the bound; at least one entry, when there is one.
    func reach(from lower: LogIndex, maximumBytes: Int) -> (through: LogIndex, bytes: Int) {
        var bytes = 0
        var position = offset(of: lower)
        while position < entries.count {
            let size = entries[position].payload.count
            if bytes > 0 && bytes + size > maximumBytes { break }
            bytes += size
            position += 1
        }
        return (base.index.advanced(by: position), bytes)
    }

    func payloadBytes(from lower: LogIndex, through upper: LogIndex) -> Int {
        guard lower <= upper else { return 0 }
        return ends[offset(of: upper)] - (lower == first ? baseEnd : ends[offset(of: lower) - 1])
    }

    var payloadBytes: Int { (ends.last ?? baseEnd) - baseEnd }

    /// The last index at or before `index` whose term is at most `term`; the base when there is none.
    ///
    /// Both sides skip whole terms with it (§5.3, last paragraph), so that logs agree after a round trip for each term
    /// in which they differ, and not for each entry.
    func lastIndex(atOrBefore index: LogIndex, termAtMost term: Term) -> EntryID {
        var upper = min(index, last.index)
        guard upper > base.index else { return base }
        if entries[offset(of: upper)].term <= term {
            return EntryID(term: entries[offset(of: upper)].term, index: upper)
        }
        // Terms never fall, so the entries above `term` are a suffix: find where it begins.
        var low = 0
        var high = offset(of: upper)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].term > term { high = middle } else { low = middle + 1 }
        }
        upper = base.index.advanced(by: low)
        return id(at: upper) ?? base
    }

    // MARK: Changing

    mutating func append(_ entry: Entry) {
        precondition(entry.index == last.index.next, "entry \(entry.id) does not follow \(last)")
        ends.append((ends.last ?? baseEnd) + entry.payload.count)
        entries.append(entry)
        noteConfiguration(of: entry)
    }

    mutating func append(contentsOf new: ArraySlice<Entry>) {
        // No reservation: reserving exactly what is needed would move the whole log with every append.
        for entry in new { append(entry) }
    }

    /// Drops this entry and all after it.
    mutating func truncate(from index: LogIndex) {
        precondition(index > base.index, "truncation from \(index) reaches the base \(base)")
        guard index <= last.index else { return }
        ends.removeSubrange(offset(of: index)...)
        entries.removeSubrange(offset(of: index)...)
        pullBack(to: index.previous)
        while configurations.count > 1, configurations[configurations.count - 1].index >= index {
            configurations.removeLast()
        }
    }

    /// Forgets the entries through `index`, which a durable snapshot covers.
    mutating func compact(through index: LogIndex) {
        guard index > base.index, let id = id(at: index) else { return }
        baseEnd = ends[offset(of: index)]
        ends.removeSubrange(...offset(of: index))
        discarded.append(entries)
        entries = Array(entries[(offset(of: index) + 1)...])
        base = id
        if let keep = configurations.lastIndex(where: { $0.index <= index }), keep > 0 {
            configurations.removeSubrange(..<keep)
        }
    }

    /// Puts a received snapshot in the place of everything up to its end.
    ///
    /// A log that holds the snapshot's last entry keeps what follows it; any other log is dropped whole, the
    /// entry at the same index with another term included (§7).
    ///
    /// - Parameter agreed: the commit index; what is durable up to there stays true.
    mutating func install(_ snapshot: SnapshotDescriptor, agreed: LogIndex) {
        if holds(snapshot.id) {
            compact(through: snapshot.index)
            // The floor comes from the snapshot itself: it knows its configuration for certain.
            configurations.removeAll { $0.index <= snapshot.index }
        } else {
            if handedOver > base.index { truncateFrom = min(truncateFrom ?? first, first) }
            discarded.append(entries)
            entries = []
            ends.removeAll()
            baseEnd = 0
            base = snapshot.id
            durable = min(durable, agreed)
            for position in marks.indices { marks[position].reach = min(marks[position].reach, agreed) }
            configurations.removeAll()
        }
        handedOver = max(handedOver, snapshot.index)
        if entries.isEmpty { handedOver = snapshot.index }
        configurations.insert(
            ConfigurationRecord(index: snapshot.configurationIndex, configuration: snapshot.configuration), at: 0)
    }

    /// Hands over what ``compact(through:)`` and ``install(_:agreed:)`` have left.
    mutating func takeDiscarded() -> [[Entry]] {
        defer { discarded = [] }
        return discarded
    }

    private mutating func pullBack(to index: LogIndex) {
        if index < handedOver {
            truncateFrom = min(truncateFrom ?? index.next, index.next)
            handedOver = index
        }
        durable = min(durable, index)
        var position = marks.count
        while position > 0, marks[position - 1].reach > index {
            position -= 1
            marks[position].reach = index
        }
    }

    private mutating func noteConfiguration(of entry: Entry) {
        guard entry.kind == .configuration else { return }
        guard let configuration = try? Configuration(decoding: entry.payload) else {
            preconditionFailure("entry \(entry.id) does not hold a configuration")
        }
        configurations.append(ConfigurationRecord(index: entry.index, configuration: configuration))
    }
}

// MARK: - Durability

extension RaftLog {
    /// Whether storage lacks something.
    var isDirty: Bool { truncateFrom != nil || handedOver < last.index }

    /// Takes what storage lacks, for the batch `sequence`.
    mutating func handOver(as sequence: WriteSequence, at now: Instant) -> (truncateFrom: LogIndex?, entries: [Entry]) {
        let result = (truncateFrom, slice(from: handedOver.next, through: last.index))
        truncateFrom = nil
        handedOver = last.index
        marks.append(Mark(sequence: sequence, reach: handedOver, issuedAt: now))
        return result
    }

    mutating func persisted(through sequence: WriteSequence) {
        while let mark = marks.first, mark.sequence <= sequence {
            durable = max(durable, mark.reach)
            marks.removeFirst()
        }
    }

    /// The write that makes the prefix through `index` durable; nil when it is.
    func sequence(covering index: LogIndex) -> WriteSequence? {
        guard index > durable else { return nil }
        for mark in marks where mark.reach >= index { return mark.sequence }
        preconditionFailure("entry \(index) was not handed over; durable \(durable), handed over \(handedOver)")
    }

    /// When the write that has waited longest was handed over.
    var oldestWrite: Instant? { marks.first?.issuedAt }
}
