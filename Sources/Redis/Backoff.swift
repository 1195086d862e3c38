internal import NIOCore

/// Pauses between attempts that fail: doubling from the minimum to the maximum, each drawn from its upper half, so that
/// nodes that lost the same server do not come back at the same moment.
struct Backoff: Sendable {
    private let minimum: TimeAmount
    private let maximum: TimeAmount
    private var failures: Int64 = 0
    private var state: UInt64

    /// - Parameter seed: of the draw; different for each node and server.
    init(minimum: Duration, maximum: Duration, seed: UInt64) {
        self.minimum = TimeAmount(minimum)
        self.maximum = TimeAmount(maximum)
        state = seed
    }

    /// The pause after one more failure.
    mutating func next() -> TimeAmount {
        let ceiling = min(maximum, minimum * (1 << min(failures, 20)))
        failures += 1
        return .nanoseconds(ceiling.nanoseconds / 2 + Int64(draw() % UInt64(max(1, ceiling.nanoseconds / 2))))
    }

    mutating func reset() { failures = 0 }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    private mutating func draw() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
