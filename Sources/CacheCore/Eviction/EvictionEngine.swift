/// Decides what a cache of bounded bytes gives up. It knows of an entry only its fingerprint, bytes, cost and uses; what is
/// cached stands elsewhere, under the entry's slot.
///
/// A value without locks. The owner looks its key up by itself and tells the engine of what happens to slots:
///
///     admit ──→ queued ──use──→ queued ──victim, remove──→ (gone)
///
/// With S3-FIFO, SIEVE, CLOCK, FIFO, cost and custom a use writes to the entry alone.
public struct EvictionEngine: Sendable {
    public let policy: EvictionPolicy
    /// What entries should have together. The owner asks for victims; the engine never acts by itself.
    public var limit: UInt64

    var entries: [Entry] = []
    /// Free slots, linked by `older`.
    private var free = Entry.none
    var queues: [Queue]
    private(set) var ghost = GhostQueue()
    /// Ghosts that came back.
    public private(set) var ghostHits: UInt64 = 0

    public private(set) var bytes: UInt64 = 0
    public private(set) var count = 0

    // SIEVE.
    var hand = Entry.none
    // Cost: the worth of the last victim, by which old worth is outbid.
    var inflation = 0.0
    var heap = WorthHeap()
    // LFU: how often all counts were halved, and when that is due.
    var halvings: UInt32 = 0
    var usesUntilHalving = 0
    // Custom: admissions so far.
    private var admissions: UInt32 = 0

    public init(policy: EvictionPolicy, limit: UInt64) {
        self.policy = policy
        self.limit = limit
        switch policy {
        case .lfu: queues = [Queue](repeating: Queue(), count: Int(Entry.lfuLimit) + 1)
        case .s3fifo: queues = [Queue(), Queue()]
        case .lru, .sieve, .fifo, .clock, .cost, .custom: queues = [Queue()]
        }
    }

    public var ghostCount: Int { ghost.count }
    /// One above the largest slot ever used.
    public var slots: Int { entries.count }

    /// Takes an entry in; makes no room for it.
    ///
    /// - Parameter fingerprint: of the key, uniform; by it the engine knows again what it let go.
    /// - Returns: The entry's slot; slots of entries that have gone are used again.
    public mutating func admit(fingerprint: UInt64, bytes: UInt32, costMilliseconds: UInt32 = 0) -> Int {
        let entry = Entry(
            fingerprint: fingerprint, bytes: bytes, costMilliseconds: costMilliseconds, admitted: admissions)
        admissions &+= 1
        let slot: Int32
        if free != Entry.none {
            slot = free
            free = entries[Int(slot)].older
            entries[Int(slot)] = entry
        } else {
            slot = Int32(entries.count)
            entries.append(entry)
        }
        enqueue(slot)
        return Int(slot)
    }

    /// The entry was asked for and found.
    public mutating func use(_ slot: Int) {
        let position = slot
        if entries[position].hits != .max { entries[position].hits += 1 }
        switch policy {
        case .fifo, .custom: break
        case .s3fifo: if entries[position].uses < 3 { entries[position].uses += 1 }
        case .sieve, .clock: entries[position].uses = 1
        case .lru: moveToFront(Int32(slot))
        case .lfu: count(Int32(slot))
        case .cost: appraise(position)
        }
    }

    /// The entry goes, whatever its state.
    public mutating func remove(_ slot: Int) { release(Int32(slot)) }

    /// Removes the entry that goes first, unless finding it takes more than what is left of `budget`, in entries looked at.
    ///
    /// - Returns: Its slot, which is free again: take what stood under it before the next admission.
    public mutating func victim(budget: inout Int) -> Int? {
        guard count > 0 else { return nil }
        let slot: Int32? =
            switch policy {
            case .fifo, .lru: first(&budget)
            case .clock: clockVictim(&budget)
            case .sieve: sieveVictim(&budget)
            case .s3fifo: s3fifoVictim(&budget)
            case .lfu: lfuVictim(&budget)
            case .cost: costVictim(&budget)
            case .custom: leastWorth(&budget)
            }
        guard let slot else { return nil }
        release(slot)
        return Int(slot)
    }

    /// Whether an entry stands in the slot.
    func holds(_ slot: Int) -> Bool { slot < entries.count && entries[slot].queue != Entry.isFree }
    public func bytes(of slot: Int) -> UInt32 { entries[slot].bytes }
    public func costMilliseconds(of slot: Int) -> UInt32 { entries[slot].costMilliseconds }
    /// Uses since admission or since ``fade(_:)``, the admission not counted.
    public func hits(of slot: Int) -> UInt32 { entries[slot].hits }

    /// Halves the uses that ``hits(of:)`` tells, so that what was hot once fades.
    public mutating func fade(_ slot: Int) { entries[slot].hits /= 2 }

    // MARK: Queues

    private mutating func enqueue(_ slot: Int32) {
        let position = Int(slot)
        entries[position].uses = 0
        switch policy {
        case .fifo, .lru, .clock, .sieve, .custom: link(slot, into: 0)
        case .s3fifo:
            if ghost.remove(entries[position].fingerprint) {
                ghostHits &+= 1
                link(slot, into: 1)
            } else {
                link(slot, into: 0)
            }
        case .lfu:
            entries[position].uses = 1
            entries[position].halvings = halvings
            link(slot, into: 1)
        case .cost:
            link(slot, into: 0)
            appraise(position)
            rank(slot)
        }
    }

    mutating func link(_ slot: Int32, into queue: Int) {
        entries[Int(slot)].queue = UInt8(queue)
        queues[queue].push(slot, &entries)
        bytes += UInt64(entries[Int(slot)].bytes)
        count += 1
    }

    mutating func unlink(_ slot: Int32) {
        let queue = self.queue(of: slot)
        if hand == slot { hand = entries[Int(slot)].newer }
        queues[queue].unlink(slot, &entries)
        bytes -= UInt64(entries[Int(slot)].bytes)
        count -= 1
    }

    private mutating func release(_ slot: Int32) {
        let position = Int(slot)
        precondition(entries[position].queue != Entry.isFree, "slot \(slot) was free already")
        unlink(slot)
        entries[position].queue = Entry.isFree
        entries[position].older = free
        free = slot
    }

    mutating func remember(_ slot: Int32) {
        // At its full size the main queue has nine tenths of the entries; while it grows, ghosts must not wait for it.
        let capacity = max(queues[1].count, count * 9 / 10)
        ghost.insert(entries[Int(slot)].fingerprint, capacity: capacity)
    }

    private mutating func moveToFront(_ slot: Int32) {
        guard queues[0].newest != slot else { return }
        queues[0].unlink(slot, &entries)
        queues[0].push(slot, &entries)
    }

    /// The queue that the entry stands in now: LFU's are renumbered when counts are halved.
    private func queue(of slot: Int32) -> Int {
        guard case .lfu = policy else { return Int(entries[Int(slot)].queue) }
        return lfuCount(of: Int(slot))
    }

    func candidate(_ slot: Int32) -> EvictionCandidate {
        let entry = entries[Int(slot)]
        return EvictionCandidate(
            bytes: entry.bytes, costMilliseconds: entry.costMilliseconds,
            uses: entry.hits == .max ? .max : entry.hits + 1,
            age: admissions &- entry.admitted)
    }
}

extension EvictionEngine {
    /// What the engine knows of one entry; 48 bytes.
    struct Entry: Sendable {
        static let none: Int32 = -1
        static let isFree: UInt8 = 255
        static let lfuLimit: UInt8 = 63

        var fingerprint: UInt64
        /// Worth, with the cost policy.
        var score = 0.0
        var bytes: UInt32
        var costMilliseconds: UInt32
        var hits: UInt32 = 0
        var admitted: UInt32
        /// Towards the next admission.
        var newer = Entry.none
        /// Towards the first one.
        var older = Entry.none
        var halvings: UInt32 = 0
        var queue = Entry.isFree
        /// The policy's own counter: at most 3 with S3-FIFO, 1 with CLOCK and SIEVE, 63 with LFU.
        var uses: UInt8 = 0

        init(fingerprint: UInt64, bytes: UInt32, costMilliseconds: UInt32, admitted: UInt32) {
            self.fingerprint = fingerprint
            self.bytes = bytes
            self.costMilliseconds = costMilliseconds
            self.admitted = admitted
        }
    }

    /// Entries linked from the newest to the oldest.
    struct Queue: Sendable {
        var newest = Entry.none
        var oldest = Entry.none
        var bytes: UInt64 = 0
        var count = 0

        mutating func push(_ slot: Int32, _ entries: inout [Entry]) {
            entries[Int(slot)].newer = Entry.none
            entries[Int(slot)].older = newest
            if newest == Entry.none {
                oldest = slot
            } else {
                entries[Int(newest)].newer = slot
            }
            newest = slot
            bytes += UInt64(entries[Int(slot)].bytes)
            count += 1
        }

        mutating func unlink(_ slot: Int32, _ entries: inout [Entry]) {
            let newer = entries[Int(slot)].newer
            let older = entries[Int(slot)].older
            if newer == Entry.none { newest = older } else { entries[Int(newer)].older = older }
            if older == Entry.none { oldest = newer } else { entries[Int(older)].newer = newer }
            bytes -= UInt64(entries[Int(slot)].bytes)
            count -= 1
        }

        /// Puts all of `other` behind the oldest one.
        mutating func append(_ other: Queue, _ entries: inout [Entry]) {
            guard other.count > 0 else { return }
            guard count > 0 else {
                self = other
                return
            }
            entries[Int(oldest)].older = other.newest
            entries[Int(other.newest)].newer = oldest
            oldest = other.oldest
            bytes += other.bytes
            count += other.count
        }
    }
}
