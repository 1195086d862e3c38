import EsperTypes
import NIOCore
import NIOPosix
import RaftRuntime
import Synchronization

/// Threads for a disk that may hang. Every caller waits until his deadline and no longer; what hangs in the kernel cannot be ended and keeps
/// its thread.
///
/// When no thread has come any further for a while, callers are refused at once until one does. So a disk that hangs takes these
/// threads, and of each caller at most the time that he has given.
final class DiskThreads: Sendable {
    private struct State {
        /// Waiting and running, also those whose callers have left.
        var jobs = 0
        var running = 0
    }

    /// Callers bound the bytes of what waits; this bounds the rest.
    private static let maximumJobs = 16_384

    private let pool: NIOThreadPool
    private let stall: Duration
    private let eventLoop: any EventLoop
    private let state = Mutex(State())
    /// When a thread last took work or came further in it.
    private let progressed = AtomicInstant()

    /// - Parameters:
    ///   - count: as many threads as there ever are.
    ///   - stall: how long one file may take before callers are refused.
    ///   - eventLoop: for deadlines.
    init(count: Int, stall: Duration, eventLoop: any EventLoop) {
        pool = NIOThreadPool(numberOfThreads: count)
        self.stall = stall
        self.eventLoop = eventLoop
    }

    func start() { pool.start() }

    /// Work that takes long for other reasons than the disk says after each part that it goes on.
    func step() { progressed.value = NodeClock.now() }

    /// - Throws: what `body` does; or that it has not ended by the deadline, or when the caller was cancelled: it may still happen.
    func run<Value: Sendable>(
        by deadline: Instant, _ body: @escaping @Sendable () throws(PeerFailure) -> Value
    ) async throws(PeerFailure) -> Value {
        try admit()
        let job = Job(body)
        let outcome = FirstOutcome<Result<Value, PeerFailure>>()
        pool.submit { state in
            // Without a caller there is nothing to do.
            if state == .active, let body = job.take() {
                self.begin()
                outcome.set(Self.result(body))
                self.end()
            } else {
                outcome.set(.failure(PeerFailure("the directory is closed")))
            }
            self.state.withLock { $0.jobs -= 1 }
        }
        let result = await outcome.value(
            by: deadline, on: eventLoop, otherwise: .failure(PeerFailure("the disk has not answered in time")))
        _ = job.take()
        return try result.get()
    }

    private func admit() throws(PeerFailure) {
        let isSilent = NodeClock.now() - progressed.value > stall
        let refusal: PeerFailure? = state.withLock { state in
            if state.running == pool.numberOfThreads, isSilent { return PeerFailure("the disk does not answer") }
            if state.jobs >= Self.maximumJobs { return PeerFailure("too much is asked of the disk") }
            state.jobs += 1
            return nil
        }
        if let refusal { throw refusal }
    }

    private func begin() {
        step()
        state.withLock { $0.running += 1 }
    }

    private func end() {
        step()
        state.withLock { $0.running -= 1 }
    }

    private static func result<Value>(_ body: () throws(PeerFailure) -> Value) -> Result<Value, PeerFailure> {
        do throws(PeerFailure) { return .success(try body()) } catch { return .failure(error) }
    }

    /// Waits for what is running, but not for what hangs: that ends with the process.
    func close(by deadline: Instant) async {
        let closed = FirstOutcome<Void>()
        pool.shutdownGracefully { _ in closed.set(()) }
        await closed.value(by: deadline, on: eventLoop, otherwise: ())
    }

    /// Taken by whoever is first: the thread, or the caller who has left; what it holds is then given up.
    private final class Job<Value: Sendable>: Sendable {
        typealias Body = @Sendable () throws(PeerFailure) -> Value
        private let body: Mutex<Body?>

        init(_ body: @escaping Body) { self.body = Mutex(body) }

        func take() -> Body? {
            body.withLock { body in
                defer { body = nil }
                return body
            }
        }
    }
}
