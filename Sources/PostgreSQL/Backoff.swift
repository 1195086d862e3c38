/// Waits between attempts that fail: doubling from the minimum to the maximum, each drawn from the upper half.
///
/// The draw keeps nodes that lost the same server from coming back at the same moment.
package struct Backoff: Sendable {
    private let minimum: UInt64
    private let maximum: UInt64
    private var failures = 0

    package init(minimum: Duration, maximum: Duration) {
        self.minimum = UInt64(max(1, minimum.nanoseconds))
        self.maximum = max(self.minimum, UInt64(max(1, maximum.nanoseconds)))
    }

    /// Nanoseconds to wait after one more failure.
    package mutating func next(using generator: inout some RandomNumberGenerator) -> UInt64 {
        let (doubled, overflow) = minimum.multipliedReportingOverflow(by: 1 << UInt64(min(failures, 32)))
        failures += 1
        let ceiling = overflow ? maximum : min(maximum, doubled)
        return UInt64.random(in: ceiling / 2...ceiling, using: &generator)
    }

    package mutating func reset() { failures = 0 }
}

/// A small generator with a seed (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

extension Duration {
    /// Whole nanoseconds, saturating.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, carried) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
        return carried ? (seconds < 0 ? .min : .max) : sum
    }
}
