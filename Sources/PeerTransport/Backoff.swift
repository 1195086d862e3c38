/// How long to wait before the next dial: doubling from the shortest to a longest wait, jittered over the upper half.
///
/// The jitter keeps nodes that lost each other together from dialling together.
package struct Backoff: Hashable, Sendable {
    private let shortest: Duration
    package private(set) var failures = 0

    package init(shortest: Duration) { self.shortest = shortest }

    /// The wait after one more failure, between half of the step and the step.
    package mutating func next(longest: Duration, using generator: inout some RandomNumberGenerator) -> Duration {
        // 2^20 times the shortest wait is above any longest one; more doublings could only overflow.
        let step = min(longest, shortest * (1 << min(failures, 20)))
        failures += 1
        return step / 2 + step / 2 * (Double(generator.next() >> 11) / Double(1 << 53))
    }

    /// A link stood: the next failure is a first one.
    package mutating func reset() { failures = 0 }
}

/// SplitMix64 (Steele, Lea, Flood 2014): jitter needs a seed for tests, not quality.
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
