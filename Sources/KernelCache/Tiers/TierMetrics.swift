internal import Metrics

/// What a tier's guard counts, by tier.
struct TierMetrics: Sendable {
    /// Blobs asked for and found, with the right bytes.
    let hits: Count
    let hitBytes: Count
    /// Blobs asked for and not found.
    let misses: Count
    let writes: Count
    let writtenBytes: Count
    /// Copies whose bytes were not the ones of their digest.
    let mismatches: Count
    /// 1 while the breaker is not closed.
    let isOpen: Gauge
    /// Times that it has opened.
    let openings: Count
    /// Of calls that were answered.
    let readDuration: Timer
    let writeDuration: Timer
    private let failed: [TierFailure.Code: Count]

    init(tier: String) {
        let dimensions = [("tier", tier)]
        hits = Count("cache.tier.hits", dimensions)
        hitBytes = Count("cache.tier.hit.bytes", dimensions)
        misses = Count("cache.tier.misses", dimensions)
        writes = Count("cache.tier.writes", dimensions)
        writtenBytes = Count("cache.tier.written.bytes", dimensions)
        mismatches = Count("cache.tier.mismatches", dimensions)
        openings = Count("cache.tier.openings", dimensions)
        isOpen = Gauge(label: "cache.tier.open", dimensions: dimensions)
        readDuration = Timer(label: "cache.tier.read.duration", dimensions: dimensions)
        writeDuration = Timer(label: "cache.tier.write.duration", dimensions: dimensions)
        failed = Dictionary(
            uniqueKeysWithValues: TierFailure.Code.allCases.map { code in
                (code, Count("cache.tier.failures", dimensions + [("reason", code.rawValue)]))
            })
    }

    /// Calls that failed, by reason.
    func failures(_ code: TierFailure.Code) -> Count {
        guard let counter = failed[code] else { preconditionFailure("no counter for \(code)") }
        return counter
    }

    /// Of whatever reason.
    var failureCount: UInt64 { failed.values.reduce(0) { $0 + $1.current } }
}
