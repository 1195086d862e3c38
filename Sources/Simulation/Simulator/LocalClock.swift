import EsperTypes

/// A node's own clock: it began elsewhere, runs at its own rate, and may leap ahead. It never goes back.
struct LocalClock {
    private var since: UInt64 = 0
    private var base: UInt64
    /// By how many parts per million it is fast.
    private var rate: Int
    private let usualRate: Int
    /// What the wall clock shows when this one shows 0; may be set to anything.
    private var wallOffset: UInt64 = 1_000_000_000_000_000_000

    init(offset: UInt64, drift: Int) {
        base = offset
        rate = drift
        usualRate = drift
    }

    func local(_ now: UInt64) -> Instant { Instant(nanoseconds: show(now)) }

    private func show(_ now: UInt64) -> UInt64 {
        let elapsed = Int(now - since)
        return base + UInt64(elapsed + elapsed / 1000 * rate / 1000)
    }

    /// The time since 1970 as the node believes it to be.
    func wall(_ now: UInt64) -> UInt64 { wallOffset &+ show(now) }

    /// A moment at which it shows `instant`, or one shortly before; without further changes.
    func global(_ instant: Instant) -> UInt64 {
        guard instant != .distantFuture else { return .max }
        let local = instant.nanoseconds - min(instant.nanoseconds, base)
        let (whole, rest) = local.quotientAndRemainder(dividingBy: UInt64(1_000_000 + rate))
        return since + whole * 1_000_000 + rest * 1_000_000 / UInt64(1_000_000 + rate)
    }

    /// - Parameter new: nil is the usual rate.
    mutating func setRate(_ new: Int?, at now: UInt64) {
        (base, since) = (show(now), now)
        rate = new ?? usualRate
    }

    mutating func leap(by nanoseconds: UInt64, wallBy wall: Int, at now: UInt64) {
        (base, since) = (show(now) + nanoseconds, now)
        wallOffset = wallOffset &+ UInt64(bitPattern: Int64(wall))
    }
}
