public import EsperTypes

/// Bounds a rate: `burst` at once, `perSecond` in the long run. A value that is told the time.
public struct TokenBucket: Sendable {
    private let perSecond: Double
    private let burst: Double
    private var tokens: Double
    private var filledAt: Instant?

    /// - Parameters:
    ///   - perSecond: above 0.
    ///   - burst: at least 1; more is never taken at once, except by a single call that is larger than it (see ``take(_:at:)``).
    public init(perSecond: Double, burst: Double) {
        precondition(perSecond > 0 && burst >= 1, "a bucket that never gives anything")
        self.perSecond = perSecond
        self.burst = burst
        tokens = burst
    }

    /// Takes `count`, or nothing. What is larger than the whole bucket takes a full one and leaves it in debt, so that large
    /// batches are slowed and not locked out.
    public mutating func take(_ count: Int, at now: Instant) -> Bool {
        if let filledAt, now > filledAt {
            tokens = min(burst, tokens + Double((now - filledAt).nanoseconds) / 1e9 * perSecond)
        }
        if filledAt.map({ now > $0 }) ?? true { filledAt = now }
        let wanted = Double(count)
        guard tokens >= min(wanted, burst) else { return false }
        tokens -= wanted
        return true
    }
}
