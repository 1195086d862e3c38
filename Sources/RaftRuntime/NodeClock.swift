public import EsperTypes

#if canImport(Glibc)
    import Glibc
#endif

/// The node's clocks: the only place below the composition root that reads them.
public enum NodeClock {
    /// Monotonic, going on while the machine is suspended (CLOCK_BOOTTIME).
    public static func now() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    /// Nanoseconds since 1970; stamped into entries by the leader, made monotonic when they are applied.
    public static func wallNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(max(time.tv_sec, 0)) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
