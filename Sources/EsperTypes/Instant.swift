/// A moment on a monotonic clock that goes on while the machine is suspended, in nanoseconds from an arbitrary start.
///
/// Pure code receives instants and never asks for one. Instants of two nodes cannot be compared.
public struct Instant: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var nanoseconds: UInt64

    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static let zero = Instant(nanoseconds: 0)

    /// Later than every moment that comes.
    public static let distantFuture = Instant(nanoseconds: .max)

    @inlinable
    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    /// Saturates at both ends, so that adding to the distant future keeps it there.
    @inlinable
    public static func + (left: Instant, right: Duration) -> Instant {
        let step = right.nanoseconds
        if step < 0 {
            let magnitude = step.magnitude
            return Instant(nanoseconds: left.nanoseconds > magnitude ? left.nanoseconds - magnitude : 0)
        }
        let (sum, overflow) = left.nanoseconds.addingReportingOverflow(UInt64(step))
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    @inlinable
    public static func - (left: Instant, right: Duration) -> Instant { left + (Duration.zero - right) }

    /// The time from `right` to `left`; negative when `left` is earlier.
    @inlinable
    public static func - (left: Instant, right: Instant) -> Duration {
        let nanoseconds =
            left >= right
            ? Int64(clamping: left.nanoseconds - right.nanoseconds)
            : -Int64(clamping: right.nanoseconds - left.nanoseconds)
        return Duration(attoseconds: Int128(nanoseconds) * 1_000_000_000)
    }

    public var description: String { "\(nanoseconds) ns" }
}

extension Duration {
    /// Whole nanoseconds, saturating at ±292 years.
    @inlinable
    public var nanoseconds: Int64 {
        // Nine seconds in attoseconds fill 64 bits, and dividing them is far cheaper than dividing 128.
        if let attoseconds = Int64(exactly: attoseconds) { return attoseconds / 1_000_000_000 }
        let (seconds, attoseconds) = components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, carried) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
        return carried ? (seconds < 0 ? .min : .max) : sum
    }
}
