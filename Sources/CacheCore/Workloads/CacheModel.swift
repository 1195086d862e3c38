/// One request of a workload.
public struct CacheRequest: Hashable, Sendable {
    public var key: UInt64
    public var bytes: UInt32
    public var costMilliseconds: UInt32

    public init(key: UInt64, bytes: UInt32 = 1, costMilliseconds: UInt32 = 1) {
        self.key = key
        self.bytes = bytes
        self.costMilliseconds = costMilliseconds
    }
}

/// Requests, and the part that was answered: by number, bytes and cost.
public struct HitCounts: Hashable, Sendable {
    public var requests: UInt64 = 0
    public var hits: UInt64 = 0
    public var bytes: UInt64 = 0
    public var hitBytes: UInt64 = 0
    public var cost: UInt64 = 0
    public var hitCost: UInt64 = 0

    public init() {}

    public var misses: UInt64 { requests - hits }
    /// Of requests; 0 without any.
    public var hitRatio: Double { requests == 0 ? 0 : Double(hits) / Double(requests) }
    public var byteHitRatio: Double { bytes == 0 ? 0 : Double(hitBytes) / Double(bytes) }
    public var costHitRatio: Double { cost == 0 ? 0 : Double(hitCost) / Double(cost) }

    /// The size of a request that was counted without it.
    mutating func addMissed(_ request: CacheRequest) {
        bytes += UInt64(request.bytes)
        cost += UInt64(request.costMilliseconds)
    }

    public mutating func record(_ request: CacheRequest, isHit: Bool) {
        requests += 1
        bytes += UInt64(request.bytes)
        cost += UInt64(request.costMilliseconds)
        guard isHit else { return }
        hits += 1
        hitBytes += UInt64(request.bytes)
        hitCost += UInt64(request.costMilliseconds)
    }
}

/// A cache without values: what a policy would have kept.
public struct CacheModel: Sendable {
    public private(set) var counts = HitCounts()
    public private(set) var engine: EvictionEngine
    public let capacity: UInt64
    private var index = SlotIndex()
    private var keys: [UInt64] = []
    private let overhead: UInt32

    /// - Parameters:
    ///   - capacity: in bytes.
    ///   - overhead: bytes that every entry costs beside its own.
    public init(policy: EvictionPolicy, capacity: UInt64, overhead: UInt32 = 0) {
        self.capacity = capacity
        self.overhead = overhead
        engine = EvictionEngine(policy: policy, limit: capacity)
    }

    /// Asks for a key; what is missing is fetched and kept, unless it is larger than all of the cache.
    ///
    /// - Returns: Whether it was there.
    @discardableResult
    public mutating func request(_ request: CacheRequest) -> Bool {
        let isHit = use(request.key)
        counts.record(request, isHit: isHit)
        if !isHit { admit(request) }
        return isHit
    }

    private mutating func use(_ key: UInt64) -> Bool {
        guard let slot = find(key) else { return false }
        engine.use(slot)
        return true
    }

    /// A request for a key of which the size is not known: what is missing is not fetched, and counts as a request only.
    mutating func requestUnknown(_ key: UInt64) {
        guard let slot = find(key) else {
            counts.record(CacheRequest(key: key, bytes: 0, costMilliseconds: 0), isHit: false)
            return
        }
        engine.use(slot)
        counts.record(
            CacheRequest(key: key, bytes: engine.bytes(of: slot), costMilliseconds: engine.costMilliseconds(of: slot)),
            isHit: true)
    }

    /// Keeps what came, and counts its size when it answers a request that was missed here.
    mutating func answer(_ request: CacheRequest, countsMiss: Bool) {
        guard find(request.key) == nil else { return }
        if countsMiss { counts.addMissed(request) }
        admit(request)
    }

    /// Keeps what is not there, after what has to go for it.
    public mutating func admit(_ request: CacheRequest) {
        let bytes = UInt64(request.bytes) + UInt64(overhead)
        guard bytes <= min(capacity, UInt64(UInt32.max)), find(request.key) == nil else { return }
        while engine.bytes + bytes > capacity {
            var budget = Int.max
            guard let slot = engine.victim(budget: &budget) else { return }
            index.remove(Self.hash(keys[slot]), slot: slot)
        }
        let hash = Self.hash(request.key)
        let slot = engine.admit(
            fingerprint: hash, bytes: UInt32(bytes), costMilliseconds: request.costMilliseconds)
        if slot == keys.count { keys.append(request.key) } else { keys[slot] = request.key }
        index.insert(hash, slot: slot)
    }

    public func contains(_ key: UInt64) -> Bool { find(key) != nil }

    /// Counts from now on.
    public mutating func resetCounts() { counts = HitCounts() }

    private func find(_ key: UInt64) -> Int? {
        index.find(Self.hash(key)) { keys[$0] == key }
    }

    /// A bijection: different keys have different fingerprints.
    static func hash(_ key: UInt64) -> UInt64 {
        var value = key &+ 0x9E37_79B9_7F4A_7C15
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
