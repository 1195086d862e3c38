internal import CacheCore
internal import Metrics

/// What the memory tier publishes, from its own counts; nothing is counted here while it serves.
///
/// Not safe to be published from two threads at once.
struct MemoryMetrics {
    private let hits = Counter(label: "cache.memory.hits", dimensions: [("by", "digest")])
    private let nameHits = Counter(label: "cache.memory.hits", dimensions: [("by", "name")])
    private let misses = Counter(label: "cache.memory.misses", dimensions: [("by", "digest")])
    private let nameMisses = Counter(label: "cache.memory.misses", dimensions: [("by", "name")])
    /// Of what was found.
    private let hitBytes = Counter(label: "cache.memory.hit.bytes")
    /// Milliseconds of making what was found.
    private let hitCost = Counter(label: "cache.memory.hit.cost.milliseconds")
    private let admissions = Counter(label: "cache.memory.admissions")
    private let evictions = EvictionReason.allCases.map {
        Counter(label: "cache.memory.evictions", dimensions: [("reason", $0.name)])
    }
    private let refusals = MemoryAdmission.Refusal.allCases.map {
        Counter(label: "cache.memory.refusals", dimensions: [("reason", $0.name)])
    }
    /// Admissions of what had been let go shortly before: many of them say that the memory is too small.
    private let ghostHits = Counter(label: "cache.memory.ghost.hits")
    private let samplesLost = Counter(label: "cache.shadow.samples.lost")
    private let entries = Gauge(label: "cache.memory.entries")
    private let accounted = Gauge(label: "cache.memory.accounted.bytes")
    private let limit = Gauge(label: "cache.memory.limit.bytes")
    /// What other policies would have missed, of sampled requests, bytes and cost.
    private let shadow = ShadowCaches.policies.map { policy in
        ["requests", "bytes", "cost"].map { weight in
            Gauge(
                label: "cache.shadow.miss.ratio", dimensions: [("policy", policy.description), ("weight", weight)])
        }
    }
    private var last = MemoryCounts()
    private var lastGhostHits: UInt64 = 0

    mutating func publish(_ statistics: MemoryStatistics) {
        let now = statistics.counts
        func advance(_ counter: Counter, _ before: UInt64, _ after: UInt64) {
            if after > before { counter.increment(by: Int64(clamping: after - before)) }
        }
        advance(hits, last.hits, now.hits)
        advance(nameHits, last.nameHits, now.nameHits)
        advance(misses, last.misses, now.misses)
        advance(nameMisses, last.nameMisses, now.nameMisses)
        advance(hitBytes, last.hitBytes, now.hitBytes)
        advance(hitCost, last.hitCostMilliseconds, now.hitCostMilliseconds)
        advance(admissions, last.admissions, now.admissions)
        advance(samplesLost, last.samplesLost, now.samplesLost)
        for (position, counter) in evictions.enumerated() {
            advance(counter, last.evictions[position], now.evictions[position])
        }
        for (position, counter) in refusals.enumerated() {
            advance(counter, last.refusals[position], now.refusals[position])
        }
        advance(ghostHits, lastGhostHits, statistics.ghostHits)
        last = now
        lastGhostHits = statistics.ghostHits
        entries.record(statistics.entries)
        accounted.record(Int64(clamping: statistics.accountedBytes))
        limit.record(Int64(clamping: statistics.limitBytes))
        for (gauges, shadow) in zip(shadow, statistics.shadows) where shadow.counts.requests > 0 {
            let ratios = [shadow.counts.hitRatio, shadow.counts.byteHitRatio, shadow.counts.costHitRatio]
            for (gauge, ratio) in zip(gauges, ratios) { gauge.record(1 - ratio) }
        }
    }
}
