public import EsperTypes

/// One part of a memory of values: what is kept under digests and under versions of names, and its account.
///
/// A value; whoever shares it between threads puts it under a lock. It never keeps more than its limit: what cannot be
/// kept is refused. What has to go beyond the admission itself goes step by step (``evict(budget:)``).
public struct MemoryStripe: Sendable {
    /// What an entry takes beside its payload: its place here, free places included, in the index, and the header of its array.
    public static let overheadBytes = 160 + SlotIndex.bytesPerEntry + headerBytes
    private static let headerBytes = 32
    /// Blocks from here on begin somewhere in pages of their own.
    private static let largeBlock = 16 << 10
    private static let pageBytes = 4096
    /// Eviction begins above the one and goes on to the other, in hundredths of the limit.
    public static let highWatermark: UInt64 = 97
    public static let lowWatermark: UInt64 = 92
    /// A payload above this part of the limit is refused: it would push out too much at once.
    public static let largestShare: UInt64 = 16

    public private(set) var limit: UInt64
    public private(set) var counts = MemoryCounts()
    private var engine: EvictionEngine
    private var items: [Item] = []
    private var index = SlotIndex()
    private var isEvicting = false
    private var samples: [ShadowSample] = []

    struct Item: Sendable {
        var hash: UInt64
        var digest: Digest
        /// Empty: the value is the one of the digest.
        var name: [UInt8]
        var version: LogIndex
        var value: [UInt8]

        static let free = Item(hash: 0, digest: Digest(words: 0, 0, 0, 0), name: [], version: LogIndex(0), value: [])
    }

    public init(policy: EvictionPolicy, limit: UInt64) {
        self.limit = limit
        engine = EvictionEngine(policy: policy, limit: limit)
    }

    public var policy: EvictionPolicy { engine.policy }
    public var count: Int { engine.count }
    public var ghostHits: UInt64 { engine.ghostHits }
    /// All that is kept here, with what keeping it takes.
    public var accountedBytes: UInt64 { engine.bytes + UInt64(engine.ghostCount * GhostQueue.bytesPerEntry) }

    // MARK: Reading

    /// - Parameter hash: of the digest, uniform, and the same for the same digest.
    public mutating func get(_ digest: Digest, hash: UInt64) -> [UInt8]? {
        guard let slot = slot(of: digest, hash: hash) else {
            counts.misses &+= 1
            if isSampled(hash) { sample(ShadowSample(key: hash, kind: .missed)) }
            return nil
        }
        counts.hits &+= 1
        return used(slot, hash)
    }

    /// What was put under exactly this version of the name. An older one makes room: no reader asks for it again.
    public mutating func value(of name: [UInt8], version: LogIndex, hash: UInt64) -> [UInt8]? {
        guard let slot = slot(of: name, hash: hash) else {
            counts.nameMisses &+= 1
            if isSampled(hash) { sample(ShadowSample(key: hash, kind: .missed)) }
            return nil
        }
        guard items[slot].version == version else {
            counts.nameMisses &+= 1
            if items[slot].version < version { take(slot, .superseded) }
            return nil
        }
        counts.nameHits &+= 1
        return used(slot, hash)
    }

    @inline(__always)
    private mutating func used(_ slot: Int, _ hash: UInt64) -> [UInt8] {
        engine.use(slot)
        let cost = engine.costMilliseconds(of: slot)
        counts.hitBytes &+= UInt64(items[slot].value.count)
        counts.hitCostMilliseconds &+= UInt64(cost)
        if isSampled(hash) {
            sample(
                ShadowSample(key: hash, kind: .found, bytes: engine.bytes(of: slot), costMilliseconds: cost))
        }
        return items[slot].value
    }

    /// Without counting as a use.
    public func contains(_ digest: Digest, hash: UInt64) -> Bool { slot(of: digest, hash: hash) != nil }

    /// Likewise.
    public func peek(_ digest: Digest, hash: UInt64) -> [UInt8]? {
        slot(of: digest, hash: hash).map { items[$0].value }
    }

    // MARK: Writing

    public mutating func put(
        _ value: [UInt8], under digest: Digest, hash: UInt64, costMilliseconds: UInt32
    ) -> MemoryAdmission {
        if slot(of: digest, hash: hash) != nil { return .held }
        return admit(Item(hash: hash, digest: digest, name: [], version: LogIndex(0), value: value), costMilliseconds)
    }

    /// Replaces an older version; what is older than the one kept is refused.
    public mutating func put(
        _ value: [UInt8], of name: [UInt8], version: LogIndex, hash: UInt64, costMilliseconds: UInt32
    ) -> MemoryAdmission {
        if let slot = slot(of: name, hash: hash) {
            if items[slot].version == version { return .held }
            guard items[slot].version < version else { return refuse(.superseded) }
            take(slot, .superseded)
        }
        return admit(
            Item(hash: hash, digest: Digest(words: 0, 0, 0, 0), name: name, version: version, value: value),
            costMilliseconds)
    }

    private mutating func admit(_ item: Item, _ costMilliseconds: UInt32) -> MemoryAdmission {
        guard UInt64(item.value.count) <= limit / Self.largestShare else { return refuse(.tooLarge) }
        let charge = Self.charge(item.value, name: item.name)
        if isSampled(item.hash) {
            sample(
                ShadowSample(key: item.hash, kind: .put, bytes: UInt32(charge), costMilliseconds: costMilliseconds))
        }
        // Enough for the admission itself; what the watermarks ask for beyond goes in its own steps.
        var budget = 4096
        while accountedBytes + charge > limit {
            guard let slot = engine.victim(budget: &budget) else { return refuse(.full) }
            forget(slot, .capacity)
        }
        let slot = engine.admit(
            fingerprint: item.hash, bytes: UInt32(charge), costMilliseconds: costMilliseconds)
        if slot == items.count { items.append(item) } else { items[slot] = item }
        index.insert(item.hash, slot: slot)
        counts.admissions &+= 1
        if accountedBytes > limit / 100 * Self.highWatermark { isEvicting = true }
        return .admitted
    }

    private mutating func refuse(_ reason: MemoryAdmission.Refusal) -> MemoryAdmission {
        counts.refusals[reason.rawValue] &+= 1
        return .refused(reason)
    }

    /// - Returns: The bytes given back; 0: it was not here.
    @discardableResult
    public mutating func drop(_ digest: Digest, hash: UInt64) -> UInt64 {
        guard let slot = slot(of: digest, hash: hash) else { return 0 }
        return take(slot, .dropped)
    }

    @discardableResult
    public mutating func drop(name: [UInt8], hash: UInt64) -> UInt64 {
        guard let slot = slot(of: name, hash: hash) else { return 0 }
        return take(slot, .dropped)
    }

    // MARK: Giving up

    /// A lower limit does not evict by itself: ``evict(budget:)`` does.
    public mutating func setLimit(_ limit: UInt64) {
        self.limit = limit
        engine.limit = limit
        if accountedBytes > limit / 100 * Self.highWatermark { isEvicting = true }
    }

    /// Whether there is more to evict.
    public var needsEviction: Bool { isEvicting }

    /// Evicts down to the low watermark, as far as the budget goes.
    ///
    /// - Parameter budget: entries to look at.
    /// - Returns: Whether there is more to evict.
    @discardableResult
    public mutating func evict(budget: Int) -> Bool {
        guard isEvicting else { return false }
        let reason: EvictionReason = accountedBytes > limit ? .pressure : .capacity
        var budget = budget
        while accountedBytes > limit / 100 * Self.lowWatermark {
            guard let slot = engine.victim(budget: &budget) else {
                // Ghosts alone are left.
                if engine.count == 0 { isEvicting = false }
                return isEvicting
            }
            forget(slot, reason)
        }
        isEvicting = false
        return false
    }

    @discardableResult
    private mutating func take(_ slot: Int, _ reason: EvictionReason) -> UInt64 {
        let bytes = UInt64(engine.bytes(of: slot))
        engine.remove(slot)
        forget(slot, reason)
        return bytes
    }

    private mutating func forget(_ slot: Int, _ reason: EvictionReason) {
        index.remove(items[slot].hash, slot: slot)
        items[slot] = .free
        counts.evictions[reason.rawValue] &+= 1
    }

    // MARK: Samples

    /// One key of 64, by bits of the hash that choose neither the stripe nor a place in it.
    @inline(__always)
    private func isSampled(_ hash: UInt64) -> Bool { hash >> 58 == 0 }

    private mutating func sample(_ sample: ShadowSample) {
        guard samples.count < 256 else {
            counts.samplesLost &+= 1
            return
        }
        samples.append(sample)
    }

    /// What sampled keys were asked for since the last time; empty most of the time.
    public mutating func takeSamples() -> [ShadowSample] {
        guard !samples.isEmpty else { return [] }
        defer {
            samples = []
            samples.reserveCapacity(256)
        }
        return samples
    }

    // MARK: Hot values

    /// Adds what stands in some slots to a list of what is most worth having; names are left out.
    ///
    /// - Parameter fade: halve what is known of uses, so that later lists tell what is hot then.
    /// - Returns: Where to go on; nil at the end.
    public mutating func gather(_ list: inout HotList, from first: Int, count: Int, fade: Bool) -> Int? {
        let end = min(items.count, first + count)
        for slot in first..<max(first, end) where engine.holds(slot) && items[slot].name.isEmpty {
            let cost = engine.costMilliseconds(of: slot)
            let weight = UInt64(engine.hits(of: slot)) * UInt64(max(1, cost))
            if weight > 0 {
                list.insert(
                    HotList.Entry(
                        digest: items[slot].digest, bytes: UInt32(clamping: items[slot].value.count), weight: weight,
                        costMilliseconds: cost))
            }
            if fade { engine.fade(slot) }
        }
        return end < items.count ? end : nil
    }

    /// Values by digest whose prefixes lie in the range, of some of the entries; no use of them.
    ///
    /// - Returns: Where to go on; nil at the end.
    public func resident(
        _ range: Range<UInt64>, from first: Int, count: Int, into found: inout [(digest: Digest, value: [UInt8])]
    ) -> Int? {
        let end = min(items.count, first + count)
        for slot in first..<max(first, end) where engine.holds(slot) && items[slot].name.isEmpty {
            if range.contains(items[slot].digest.prefix) { found.append((items[slot].digest, items[slot].value)) }
        }
        return end < items.count ? end : nil
    }

    // MARK: Finding

    @inline(__always)
    private func slot(of digest: Digest, hash: UInt64) -> Int? {
        items.withUnsafeBufferPointer { items in
            index.find(hash) { items[$0].digest == digest && items[$0].name.isEmpty }
        }
    }

    @inline(__always)
    private func slot(of name: [UInt8], hash: UInt64) -> Int? {
        items.withUnsafeBufferPointer { items in
            index.find(hash) { items[$0].hash == hash && items[$0].name == name }
        }
    }

    /// The account is that of the entries, and never above the limit (unless that was lowered just now).
    package func checkInvariants() {
        engine.checkInvariants()
        precondition(index.count == engine.count, "the index has \(index.count) entries of \(engine.count)")
        let kept = items.indices.filter { engine.holds($0) }.map { items[$0] }
        precondition(kept.count == engine.count, "\(kept.count) values are kept for \(engine.count) entries")
        let charged = kept.reduce(0) { $0 + Self.charge($1.value, name: $1.name) }
        precondition(charged == engine.bytes, "\(charged) bytes are kept, \(engine.bytes) are accounted")
    }

    /// What the process grows by when it keeps the value; `esper bench cache memory` compares.
    ///
    /// A small block takes all that the allocator gave; a large one the pages that it touches, which is one more than it fills.
    public static func charge(_ value: [UInt8], name: [UInt8] = []) -> UInt64 {
        let payload = value.capacity + headerBytes < largeBlock ? value.capacity : value.count + pageBytes
        let name = name.isEmpty ? 0 : name.capacity + headerBytes
        return UInt64(payload + overheadBytes + name)
    }
}
