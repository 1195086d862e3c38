internal import Metrics

/// What a tier's guard counts, by tier.
struct TierMetrics: Sendable {
    /// Blobs asked for and found, with the right bytes.
    let hits: Counter
    let hitBytes: Counter
    /// Blobs asked for and not found.
    let misses: Counter
    let writes: Counter
    let writtenBytes: Counter
    /// Copies whose bytes were not the ones of their digest.
    let mismatches: Counter
    /// 1 while the breaker is not closed.
    let isOpen: Gauge
    /// Of calls that were answered.
    let readDuration: Timer
    let writeDuration: Timer
    private let failed: [TierFailure.Code: Counter]

    init(tier: String) {
        let dimensions = [("tier", tier)]
        hits = Counter(label: "cache.tier.hits", dimensions: dimensions)
        hitBytes = Counter(label: "cache.tier.hit.bytes", dimensions: dimensions)
        misses = Counter(label: "cache.tier.misses", dimensions: dimensions)
        writes = Counter(label: "cache.tier.writes", dimensions: dimensions)
        writtenBytes = Counter(label: "cache.tier.written.bytes", dimensions: dimensions)
        mismatches = Counter(label: "cache.tier.mismatches", dimensions: dimensions)
        isOpen = Gauge(label: "cache.tier.open", dimensions: dimensions)
        readDuration = Timer(label: "cache.tier.read.duration", dimensions: dimensions)
        writeDuration = Timer(label: "cache.tier.write.duration", dimensions: dimensions)
        failed = Dictionary(
            uniqueKeysWithValues: TierFailure.Code.allCases.map { code in
                (code, Counter(label: "cache.tier.failures", dimensions: dimensions + [("reason", code.rawValue)]))
            })
    }

    /// Calls that failed, by reason.
    func failures(_ code: TierFailure.Code) -> Counter {
        guard let counter = failed[code] else { preconditionFailure("no counter for \(code)") }
        return counter
    }
}
