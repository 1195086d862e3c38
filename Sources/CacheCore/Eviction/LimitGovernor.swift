/// Decides how much memory a cache may use while the machine or its control group runs short.
///
/// A value: readings in, a limit out. Down by a tenth a step while others stall for memory or the group comes near its
/// maximum; up by a twentieth a step when it is calm.
public struct LimitGovernor: Sendable {
    /// What a control group says of itself.
    public struct Reading: Hashable, Sendable {
        /// Nil: unlimited, or not known.
        public var maximumBytes: UInt64?
        public var currentBytes: UInt64?
        /// The part of the last ten seconds in which some task waited for memory, in percent.
        public var stalledPercent: Double?

        public init(maximumBytes: UInt64? = nil, currentBytes: UInt64? = nil, stalledPercent: Double? = nil) {
            self.maximumBytes = maximumBytes
            self.currentBytes = currentBytes
            self.stalledPercent = stalledPercent
        }
    }

    /// Above this much of stalling the limit goes down; below the other it may go up.
    public static let stalledHigh = 10.0
    public static let stalledLow = 1.0

    public let configured: UInt64
    public private(set) var limit: UInt64

    public init(configured: UInt64) {
        self.configured = configured
        limit = configured
    }

    /// An eighth of what is configured stays, whatever happens.
    public var floor: UInt64 { configured / 8 }

    /// - Parameter accounted: what the cache holds of the group's current bytes.
    /// - Returns: The limit from now on.
    public mutating func update(_ reading: Reading, accounted: UInt64) -> UInt64 {
        var ceiling = configured
        if let maximum = reading.maximumBytes {
            // A tenth of the group's memory stays free for bursts of the others.
            let usable = maximum - maximum / 10
            let others = reading.currentBytes.map { $0 - min($0, accounted) } ?? 0
            ceiling = min(ceiling, usable - min(usable, others))
        }
        let stalled = reading.stalledPercent ?? 0
        if stalled >= Self.stalledHigh {
            limit = min(limit, max(accounted, floor)) / 10 * 9
        } else if stalled < Self.stalledLow {
            limit += max(1, limit / 20)
        }
        limit = max(floor, min(limit, ceiling))
        return limit
    }
}
