public import CacheCore

/// A memory tier at one moment; stripes are asked one after the other.
public struct MemoryStatistics: Sendable {
    public var limitBytes: UInt64
    public var stripes: Int
    public var entries = 0
    public var accountedBytes: UInt64 = 0
    /// Admissions of what had been let go shortly before.
    public var ghostHits: UInt64 = 0
    public var counts = MemoryCounts()
    /// What other policies would have done, of one key in 64.
    public var shadows: [(policy: EvictionPolicy, counts: HitCounts)] = []

    init(limitBytes: UInt64, stripes: Int) {
        self.limitBytes = limitBytes
        self.stripes = stripes
    }
}
