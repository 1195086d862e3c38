package import EsperTypes

/// How fast this node copies shards to itself: evenly, at a rate that gives way to what the nodes are for.
///
/// The rate is halved in each quarter of a second in which something told that moves take too much, down to a thirty-second of its limit
/// or ``leastStrained``, and grows by a tenth in each calm second, or by a sixty-fourth of its limit where that is more.
package struct MoveRate: Hashable, Sendable {
    /// No limit is below or above these.
    package static let limits: ClosedRange<UInt64> = 64 << 10...1 << 40
    /// Strain makes it no slower than this, so that moves end.
    package static let leastStrained: UInt64 = 512 << 10
    /// A blob takes as much as so many bytes do, beside its own: to be asked for, checked, and synced in a file that has to be made.
    package static let blobCost = 32 << 10
    /// What is brought at once takes a hundredth of a second of the rate, so that others have their turn; but few blobs at once cost more
    /// each, and many hold up what comes with them.
    private static let portionsPerSecond: UInt64 = 100
    private static let portions: ClosedRange<UInt64> = 128 << 10...2 << 20
    private static let strainInterval = Duration.milliseconds(250)
    private static let calmInterval = Duration.seconds(1)

    /// Bytes a second.
    package private(set) var current: UInt64
    package private(set) var limit: UInt64
    /// When what was taken so far has been used up.
    private var next = Instant.zero
    private var judged: Instant?

    package init(limit: UInt64) {
        self.limit = Self.bounded(limit)
        current = self.limit
    }

    package mutating func setLimit(_ limit: UInt64, at now: Instant) {
        let limit = Self.bounded(limit)
        guard limit != self.limit else { return }
        // Whoever raises it wants it now.
        if limit > self.limit || current > limit { change(to: limit, at: now) }
        self.limit = limit
    }

    private static func bounded(_ limit: UInt64) -> UInt64 {
        min(max(limit, limits.lowerBound), limits.upperBound)
    }

    /// What was taken before takes as much less or more time.
    private mutating func change(to rate: UInt64, at now: Instant) {
        if next > now { next = now + (next - now) * (Double(current) / Double(rate)) }
        current = rate
    }

    /// What is brought at once, unless one blob is more.
    package var portion: Int {
        Int(min(max(current / Self.portionsPerSecond, Self.portions.lowerBound), Self.portions.upperBound))
    }

    /// Allows blobs once those before them have had their time.
    ///
    /// - Returns: nil: they are allowed; else how long it is until then, unless the rate changes.
    package mutating func take(blobs: Int, bytes: Int, at now: Instant) -> Duration? {
        if next > now { return next - now }
        next = now + .nanoseconds(Int64(Double(bytes + blobs * Self.blobCost) / Double(current) * 1e9))
        return nil
    }

    /// Told a few times a second whether moves were too much for somebody since the last time.
    package mutating func judge(isStrained: Bool, at now: Instant) {
        if let judged, now - judged < (isStrained ? Self.strainInterval : Self.calmInterval) { return }
        judged = now
        let grown = min(limit, current + max(current / 10, limit / 64))
        let halved = max(current / 2, limit / 32, min(limit, Self.leastStrained))
        change(to: isStrained ? halved : grown, at: now)
    }
}
