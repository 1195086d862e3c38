import EsperTypes

/// The sessions of a ``SessionClock`` by position and by ID.
///
/// A million of them come and go without a pause: there is no single array or hash table that is copied when it grows
/// (which takes a tenth of a second at that size, on every node at the same entry, and so costs the leader its office).
/// Slots stand in chunks that never move; IDs are spread over many small tables, each of which grows by itself.
struct SessionSlots: Sendable {
    /// One session, linked into the queue of its TTL. Links are positions; -1 ends.
    struct Slot: Sendable {
        var id: SessionID
        /// In nanoseconds.
        var ttl: Int64
        /// When it was last extended, if since the clock's base.
        var extended: Instant
        var queue: Int32
        var next: Int32 = -1
        var before: Int32 = -1
        /// Out of its queue: its expiry has been proposed.
        var isProposed = false
    }

    private static let chunkBits = 10
    private static let tableBits = 10

    private var chunks: [[Slot]] = []
    private var free: [[Int32]] = []
    private var tables: [[SessionID: Int32]]
    private(set) var count = 0

    init(capacity: Int) {
        var table: [SessionID: Int32] = [:]
        // Tables fill unevenly, by the square root of what is in them.
        let perTable = capacity >> Self.tableBits
        if perTable > 0 { table.reserveCapacity(perTable + perTable / 8 + 8) }
        tables = Array(repeating: table, count: 1 << Self.tableBits)
    }

    subscript(position: Int32) -> Slot {
        get { chunks[Int(position) >> Self.chunkBits][Int(position) & (1 << Self.chunkBits - 1)] }
        _modify { yield &chunks[Int(position) >> Self.chunkBits][Int(position) & (1 << Self.chunkBits - 1)] }
    }

    func position(of session: SessionID) -> Int32? { tables[Self.table(of: session)][session] }

    /// - Precondition: there is no such session yet.
    mutating func add(_ slot: Slot) -> Int32 {
        let position = place(slot)
        let previous = tables[Self.table(of: slot.id)].updateValue(position, forKey: slot.id)
        precondition(previous == nil, "session \(slot.id) was added twice")
        count += 1
        return position
    }

    mutating func remove(_ session: SessionID) {
        guard let position = tables[Self.table(of: session)].removeValue(forKey: session) else { return }
        if free.last.map({ $0.count < 1 << Self.chunkBits }) != true {
            free.append([])
            free[free.count - 1].reserveCapacity(1 << Self.chunkBits)
        }
        free[free.count - 1].append(position)
        count -= 1
    }

    private mutating func place(_ slot: Slot) -> Int32 {
        if !free.isEmpty, let reused = free[free.count - 1].popLast() {
            if free[free.count - 1].isEmpty { free.removeLast() }
            self[reused] = slot
            return reused
        }
        if chunks.last.map({ $0.count < 1 << Self.chunkBits }) != true {
            chunks.append([])
            chunks[chunks.count - 1].reserveCapacity(1 << Self.chunkBits)
        }
        chunks[chunks.count - 1].append(slot)
        return Int32((chunks.count - 1) << Self.chunkBits + chunks[chunks.count - 1].count - 1)
    }

    /// IDs are log indices, so their low bits alone may have a pattern: the product's high bits depend on all of them.
    private static func table(of session: SessionID) -> Int {
        Int(truncatingIfNeeded: (session.rawValue &* 0x9E37_79B9_7F4A_7C15) >> UInt64(64 - tableBits))
    }
}
