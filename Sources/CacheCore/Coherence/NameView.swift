import DequeModule
public import EsperTypes

/// Which names an entry of the log may change, by their marks.
public enum NameChange: Hashable, Sendable {
    case none
    case names([UInt64])
    /// It cannot be told, or it is not worth telling.
    case all

    /// Stands for a name where only equality counts; two names with one mark are merely mistaken for each other.
    @inlinable
    public static func mark(_ name: [UInt8]) -> UInt64 {
        name.withUnsafeBytes { bytes in
            var mark = UInt64(bytes.count) &* 0x9e37_79b9_7f4a_7c15
            var offset = 0
            while offset + 8 <= bytes.count {
                let word = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                mark = (mark ^ word) &* 0xff51_afd7_ed55_8ccd
                mark ^= mark >> 32
                offset += 8
            }
            var rest: UInt64 = 0
            while offset < bytes.count {
                rest = rest << 8 | UInt64(bytes[offset])
                offset += 1
            }
            mark = (mark ^ rest) &* 0xc4ce_b9fe_1a85_ec53
            return mark ^ (mark >> 29)
        }
    }
}

/// What a node knows of names, and whether it may say so without asking anybody.
///
/// It may while it holds a lease, for every name that no entry of its log beyond its state touches: the leader lets nobody see
/// a change of a name before every holder has the entry of it, or holds no lease any more (design: Hermes 2020; Gray and
/// Cheriton 1989). So an entry has to be noted here before its acknowledgement leaves, and stays until it is applied or cut off.
///
/// Lookups: take a ``NameGlance``, *then* look at the clock, then at the table. What the glance says was true when it was
/// taken, if the clock shows no more than its end; what comes in between, however long, changes nothing about that.
public struct NameView<Table: Sendable>: Sendable {
    private struct Entry: Sendable {
        var index: LogIndex
        var change: NameChange
        /// The latest stamp of this entry and those before it.
        var stamp: UInt64
    }

    public private(set) var table: Table
    /// What the table is the result of.
    public private(set) var applied: LogIndex
    /// Until when this node may answer, on its own clock, and what has to be applied before it does.
    public private(set) var lease: (until: Instant, base: LogIndex)?
    /// A snapshot has replaced the log, and the table does not have it yet.
    @usableFromInline var isBehindSnapshot = false
    private var entries: Deque<Entry> = []
    /// How many of the entries change a name, by its mark.
    @usableFromInline var counts: [UInt64: Int] = [:]
    @usableFromInline var blanket = 0

    public init(_ table: Table, applied: LogIndex) {
        self.table = table
        self.applied = applied
    }

    // MARK: What happens to the log and the state

    /// An entry stands in the log. Indexes rise by one; those that are applied already are passed over.
    public mutating func appended(_ index: LogIndex, _ change: NameChange, stamp: UInt64 = 0) {
        guard index > applied else { return }
        pendingTime = max(stamp, pendingTime)
        entries.append(Entry(index: index, change: change, stamp: pendingTime))
        count(change, by: 1)
    }

    /// This entry and all after it are gone from the log.
    public mutating func truncated(from index: LogIndex) {
        while let last = entries.last, last.index >= index {
            count(last.change, by: -1)
            entries.removeLast()
        }
        pendingTime = entries.last?.stamp ?? 0
    }

    /// A snapshot stands in place of the log's front: until the state follows nothing is known.
    public mutating func snapshotInstalled() {
        isBehindSnapshot = true
        lease = nil
    }

    /// The state has come to `index`, by entries or by a snapshot.
    public mutating func applied(through index: LogIndex, _ table: Table, isRestored: Bool = false) {
        self.table = table
        applied = index
        if isRestored { isBehindSnapshot = false }
        while let first = entries.first, first.index <= index {
            count(first.change, by: -1)
            entries.removeFirst()
        }
        pendingTime = entries.last?.stamp ?? 0
    }

    public mutating func leased(until: Instant?, base: LogIndex) {
        lease = until.map { ($0, base) }
    }

    private mutating func count(_ change: NameChange, by step: Int) {
        switch change {
        case .none: break
        case .all: blanket += step
        case .names(let marks):
            for mark in marks {
                let new = counts[mark, default: 0] + step
                counts[mark] = new == 0 ? nil : new
            }
        }
    }

    // MARK: Lookups

    /// What may be said of a name, for now.
    @inlinable
    public func glance(_ mark: UInt64) -> NameSight<Table> {
        guard let until = answersUntil else { return .noLease }
        guard !isPending(mark) else { return .pending }
        return .clear(NameGlance(table: table, until: until, pendingTime: pendingTime))
    }

    /// What may be said of every name, for now; nil: one of them is about to change, or there is no lease.
    @inlinable
    public func glance() -> NameGlance<Table>? {
        guard let until = answersUntil, blanket == 0, counts.isEmpty else { return nil }
        return NameGlance(table: table, until: until, pendingTime: pendingTime)
    }

    /// Until when this node may answer; nil: not at all.
    @inlinable
    public var answersUntil: Instant? {
        guard let lease, !isBehindSnapshot, applied >= lease.base else { return nil }
        return lease.until
    }

    /// Whether an entry that is not applied may change the name.
    @inlinable
    public func isPending(_ mark: UInt64) -> Bool {
        if blanket > 0 { return true }
        return !counts.isEmpty && counts[mark] != nil
    }

    /// The latest stamp of what is not applied: what ends by then may have ended.
    public private(set) var pendingTime: UInt64 = 0
}

/// What a view says of a name.
public enum NameSight<Table: Sendable>: Sendable {
    case clear(NameGlance<Table>)
    /// It is about to change, or may be.
    case pending
    case noLease
}

/// A state to look a name up in, true if the clock shows less than `until` *after* this was taken.
public struct NameGlance<Table: Sendable>: Sendable {
    public var table: Table
    public var until: Instant
    /// What ends after the table's time and up to this one may have ended: ask.
    public var pendingTime: UInt64

    @inlinable
    public init(table: Table, until: Instant, pendingTime: UInt64) {
        self.table = table
        self.until = until
        self.pendingTime = pendingTime
    }
}
