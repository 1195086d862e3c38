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

    private enum Failure: String, CaseIterable, Sendable {
        /// No answer by the deadline.
        case late
        /// Not asked: nothing has come any further for a while.
        case silent
        /// Not asked: as much waits as may.
        case full

        var words: String {
            switch self {
            case .late: "the disk has not answered in time"
            case .silent: "the disk does not answer"
            case .full: "too much is asked of the disk"
            }
        }
    }

    private func failed(_ failure: Failure) {
        for (known, count) in zip(Failure.allCases, failures) where known == failure { count.add() }
    }

    /// Callers bound the bytes of what waits; this bounds the rest.
    private static let maximumJobs = 16_384

    private let pool: NIOThreadPool
    private let stall: Duration
    private let eventLoop: any EventLoop
    private let state = Mutex(State())
    private let failures = Failure.allCases.map {
        Count("esper_cache_disk_failures", [("reason", $0.rawValue)])
    }
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
        let late = PeerFailure(Failure.late.words)
        let result = await outcome.value(by: deadline, on: eventLoop, otherwise: .failure(late))
        _ = job.take()
        if case .failure(late) = result { failed(.late) }
        return try result.get()
    }

    private func admit() throws(PeerFailure) {
        let isSilent = NodeClock.now() - progressed.value > stall
        let refusal: Failure? = state.withLock { state in
            if state.running == pool.numberOfThreads, isSilent { return .silent }
            if state.jobs >= Self.maximumJobs { return .full }
            state.jobs += 1
            return nil
        }
        guard let refusal else { return }
        failed(refusal)
        throw PeerFailure(refusal.words)
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
