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
    /// When what was taken so far has been used up.
    private var next = Instant.zero
    private var judged: Instant?

    package init(limit: UInt64) {
        self.limit = max(limit, Self.least)
        current = self.limit
    }

    package mutating func setLimit(_ limit: UInt64, at now: Instant) {
        let limit = max(limit, Self.least)
        guard limit != self.limit else { return }
        // Whoever raises it wants it now.
        if limit > self.limit || current > limit { change(to: limit, at: now) }
        self.limit = limit
    }

    /// What was taken before takes as much less or more time.
    private mutating func change(to rate: UInt64, at now: Instant) {
        if next > now { next = now + (next - now) * (Double(current) / Double(rate)) }
        current = rate
    }

    /// Allows so many bytes once those before them have had their time.
    ///
    /// - Returns: nil: they are allowed; else how long it is until then, unless the rate changes.
    package mutating func take(_ bytes: Int, at now: Instant) -> Duration? {
        if next > now { return next - now }
        next = now + .nanoseconds(Int64(Double(bytes) / Double(current) * 1e9))
        return nil
    }

    /// Told at least once a second whether the last one was too much for somebody.
    package mutating func judge(isStrained: Bool, at now: Instant) {
        if let judged, now - judged < .seconds(1) { return }
        judged = now
        let grown = min(limit, current + max(current / 10, limit / 64))
        change(to: isStrained ? max(current / 2, min(Self.least, limit)) : grown, at: now)
    }
}
