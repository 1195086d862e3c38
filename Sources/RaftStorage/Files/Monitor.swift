internal import Glibc

/// A value with a lock and a condition: threads change it and wait for changes of others.
///
/// For threads of our own only: it blocks, so neither an event loop nor a cooperative thread may wait on it.
///
/// Sendable: `value` is reached only inside `withLock` and `wait`, which hold the mutex, and neither lets it escape.
package final class Monitor<Value>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var value: Value

    package init(_ value: Value) {
        self.value = value
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    package func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&value)
    }

    /// Wakes every waiting thread.
    package func notify() { pthread_cond_broadcast(condition) }

    /// Waits until `body` returns a result; it is asked again after each ``notify()``.
    ///
    /// - Parameter limit: how long to wait at most; nil waits as long as it takes.
    /// - Returns: nil when the limit passed first.
    package func wait<Result>(atMost limit: Duration? = nil, until body: (inout Value) -> Result?) -> Result? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        var deadline = timespec()
        if let limit { deadline = Self.deadline(after: limit) }
        while true {
            if let result = body(&value) { return result }
            if limit == nil {
                pthread_cond_wait(condition, mutex)
            } else if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT {
                return body(&value)
            }
        }
    }

    private static func deadline(after limit: Duration) -> timespec {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let (seconds, attoseconds) = limit.components
        let nanoseconds = now.tv_nsec + Int(attoseconds / 1_000_000_000)
        return timespec(
            tv_sec: now.tv_sec + Int(seconds) + nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000)
    }
}

/// A thread of the operating system with a name, for work that blocks.
package final class DedicatedThread: Sendable {
    private struct Handle: @unchecked Sendable {
        // A pthread_t is a number that any thread may join; it is never changed.
        let thread: pthread_t
    }

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    private let handle: Handle

    /// - Parameter name: at most 15 bytes, shown by `ps -L` and debuggers.
    package init(name: String, _ body: @escaping @Sendable () -> Void) {
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { raw in
                let start = Unmanaged<Start>.fromOpaque(raw!).takeRetainedValue()
                DedicatedThread.setName(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        precondition(code == 0, "pthread_create failed with \(code)")
        handle = Handle(thread: thread)
    }

    /// Best effort: a thread without a name works as well.
    private static func setName(_ name: String) {
        let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        _ = write(descriptor, name, name.utf8.count)
    }

    /// Waits for the thread's end. Call once, from another thread.
    package func join() { pthread_join(handle.thread, nil) }
}
