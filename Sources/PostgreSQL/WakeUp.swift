internal import CLibPQ
internal import Glibc

/// Lets one thread that polls be woken by any other. Wake-ups that come before the wait are not lost.
final class WakeUp: Sendable {
    let descriptor: Int32

    init() {
        descriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        precondition(descriptor >= 0, "no event descriptor: error \(errno)")
    }

    deinit { close(descriptor) }

    func wake() { eventfd_write(descriptor, 1) }

    func clear() {
        var count: UInt64 = 0
        eventfd_read(descriptor, &count)
    }

    /// What a wait ended with.
    struct Ready {
        var woken = false
        var readable = false
        var writable = false
    }

    /// Waits for a wake-up, the socket, or the deadline (nanoseconds on the monotonic clock).
    func wait(until deadline: UInt64?, socket: Int32 = -1, reading: Bool = false, writing: Bool = false) -> Ready {
        var polled = [
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: socket, events: Int16((reading ? POLLIN : 0) | (writing ? POLLOUT : 0)), revents: 0),
        ]
        let count = poll(&polled, 2, Self.milliseconds(until: deadline))
        guard count > 0 else { return Ready() }
        // An error or a hang-up wakes the reader: reading then tells what happened.
        let broken = polled[1].revents & Int16(POLLERR | POLLHUP | POLLNVAL) != 0
        var ready = Ready()
        ready.woken = polled[0].revents != 0
        ready.readable = polled[1].revents & Int16(POLLIN) != 0 || (broken && reading)
        ready.writable = polled[1].revents & Int16(POLLOUT) != 0 || (broken && writing)
        if ready.woken { clear() }
        return ready
    }

    /// Rounded up, so that nothing wakes just before its time and spins.
    private static func milliseconds(until deadline: UInt64?) -> Int32 {
        guard let deadline else { return -1 }
        let now = MonotonicClock.now
        guard deadline > now else { return 0 }
        return Int32(clamping: (deadline - now + 999_999) / 1_000_000)
    }
}

/// Nanoseconds that only grow, also while the machine is suspended.
enum MonotonicClock {
    static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    static func deadline(after duration: Duration) -> UInt64 {
        let (sum, overflow) = now.addingReportingOverflow(UInt64(max(0, duration.nanoseconds)))
        return overflow ? .max : sum
    }
}

/// Runs `body` on a new thread that ends with it.
func startThread(_ body: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let failure = pthread_create(
        &thread, nil,
        { context in
            guard let context else { return nil }
            Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body()
            return nil
        }, Unmanaged.passRetained(Box(body)).toOpaque())
    precondition(failure == 0, "no thread: error \(failure)")
    pthread_detach(thread)
}
