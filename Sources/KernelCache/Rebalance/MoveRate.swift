package import EsperTypes

/// How fast this node copies shards to itself: evenly, at a rate that gives way to what the node is for.
///
/// The rate is halved in each second in which reads from peers or reports to the leader took too long, and grows by a tenth in each
/// calm one, or by a sixty-fourth of its limit where that is more, so that a bad minute is made up for in half a minute.
package struct MoveRate: Hashable, Sendable {
    /// No slower than this, so that moves end.
    package static let least: UInt64 = 64 << 10

    /// Bytes a second.
    package private(set) var current: UInt64
    package private(set) var limit: UInt64
    /// When what was allowed so far has been used up.
    private var next = Instant.zero
    private var judged: Instant?

    package init(limit: UInt64) {
        self.limit = max(limit, Self.least)
        current = self.limit
    }

    package mutating func setLimit(_ limit: UInt64) {
        let limit = max(limit, Self.least)
        guard limit != self.limit else { return }
        // Whoever raises it wants it now.
        if limit > self.limit || current > limit { current = limit }
        self.limit = limit
    }

    /// Allows so many bytes. - Returns: how long to wait first.
    package mutating func take(_ bytes: Int, at now: Instant) -> Duration {
        let start = max(now, next)
        next = start + .nanoseconds(Int64(Double(bytes) / Double(current) * 1e9))
        return start - now
    }

    /// Told at least once a second whether the last one was too much for somebody.
    package mutating func judge(isStrained: Bool, at now: Instant) {
        if let judged, now - judged < .seconds(1) { return }
        judged = now
        current =
            isStrained ? max(current / 2, min(Self.least, limit)) : min(limit, current + max(current / 10, limit / 64))
    }
}
