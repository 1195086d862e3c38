internal import CoreMetrics
internal import Logging
internal import Synchronization

/// The queue with its lock, its callers and the threads that serve it.
///
/// Actions of the queue are performed after the lock is released; callers are resumed without it.
final class RequestPool: Sendable {
    typealias Answer = Result<[Rows], PostgreSQLError>
    typealias Caller = CheckedContinuation<Answer, Never>
    typealias Queue = RequestQueue<Caller>

    private struct Threads {
        var running = 0
        var isOver = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    let settings: PostgreSQLSettings
    let logger: Logger
    let metrics: PostgreSQLMetrics
    private let queue: Mutex<Queue>
    private let wakeUps: [WakeUp]
    private let keeper = WakeUp()
    /// Threads that run, and who waits for the last to end.
    private let threads = Mutex(Threads())
    private let ids = Atomic<UInt64>(0)

    init(settings: PostgreSQLSettings, logger: Logger) {
        self.settings = settings
        self.logger = logger
        metrics = PostgreSQLMetrics(application: settings.applicationName)
        queue = Mutex(
            Queue(
                connections: settings.connections,
                limits: Queue.Limits(
                    requests: settings.maximumRequests, waitingBytes: settings.maximumWaitingBytes,
                    batchRequests: settings.maximumBatchRequests, batchBytes: settings.maximumBatchBytes)))
        wakeUps = (0..<settings.connections).map { _ in WakeUp() }
    }

    func start(seed: UInt64) {
        threads.withLock { $0.running = settings.connections }
        for number in 0..<settings.connections {
            startThread { [self] in
                ConnectionThread(number: number, pool: self, wakeUp: wakeUps[number], seed: seed &+ UInt64(number))
                    .run()
                threadEnded()
            }
        }
        startThread { [self] in keepDeadlines() }
    }

    // MARK: Callers

    func nextID() -> UInt64 { ids.wrappingAdd(1, ordering: .relaxed).newValue }

    /// Resumes the caller now or later, exactly once.
    func submit(_ request: Queue.Request, caller: Caller) {
        let (submission, count, isEarliest) = queue.withLock { queue in
            let earliest = queue.count == 0
            return (queue.submit(request, token: caller), queue.count, earliest)
        }
        metrics.requests.record(count)
        switch submission {
        case .accepted(let wake):
            if let wake { wakeUps[wake].wake() }
            // Deadlines are nearly all the same distance away: only a first or a short one moves the keeper's alarm.
            if isEarliest || request.deadline < alarm.load(ordering: .relaxed) { keeper.wake() }
        case .refused(let error):
            if error.kind == .overloaded { metrics.overloads.increment() }
            caller.resume(returning: .failure(error))
        }
    }

    func cancel(_ id: UInt64) {
        let (failure, cut) = queue.withLock { $0.abandon(id, .cancelled, "the caller was cancelled") }
        if let cut { wakeUps[cut].wake() }
        if let failure { failure.token.resume(returning: .failure(failure.error)) }
    }

    var status: (connectionsUp: Int, requests: Int, unavailable: PostgreSQLError?) {
        queue.withLock { ($0.connectionsUp, $0.count, $0.unavailable) }
    }

    // MARK: Connections

    func take(for connection: Int) -> Queue.Take { queue.withLock { $0.take(for: connection) } }

    func isAbandoned(_ connection: Int) -> Bool { queue.withLock { $0.isAbandoned(connection) } }

    /// Whether a thread without a connection may end.
    var isDone: Bool { queue.withLock { $0.closing && $0.count == 0 } }

    func finish(_ answers: [(id: UInt64, answer: Answer)]) {
        let callers = queue.withLock { queue in answers.map { (queue.finish($0.id), $0.answer) } }
        for (caller, answer) in callers { caller?.resume(returning: answer) }
    }

    func batchEnded(_ connection: Int) {
        let count = queue.withLock { queue in
            queue.batchEnded(connection)
            return queue.count
        }
        metrics.requests.record(count)
    }

    func connected(_ connection: Int) {
        metrics.connections.record(
            queue.withLock { queue in
                queue.connected(connection)
                return queue.connectionsUp
            })
    }

    func disconnected(_ connection: Int) {
        metrics.connections.record(
            queue.withLock { queue in
                queue.disconnected(connection)
                return queue.connectionsUp
            })
    }

    func connectFailed(_ connection: Int, _ message: String) {
        metrics.connectFailures.increment()
        let (failures, isNews) = queue.withLock { queue in
            let before = queue.unavailable?.message
            let failures = queue.connectFailed(connection, message)
            return (failures, queue.unavailable != nil && before != queue.unavailable?.message)
        }
        if isNews { logger.warning("PostgreSQL cannot be reached", metadata: ["error": "\(message)"]) }
        for failure in failures { failure.token.resume(returning: .failure(failure.error)) }
    }

    // MARK: Deadlines

    /// When the keeper looks next, in nanoseconds.
    private let alarm = Atomic<UInt64>(.max)

    /// Fails requests past their deadline, whatever the connections' threads are doing.
    ///
    /// It sleeps until the earliest deadline there was when it last looked; a look costs a pass over all requests,
    /// and no more than one is made in 2 ms.
    private func keepDeadlines() {
        while threads.withLock({ $0.running }) > 0 {
            let end = drainDeadline.load(ordering: .relaxed)
            let now = MonotonicClock.now
            if now >= end { abort() }
            if now >= end.addingReportingOverflow(Self.patience).partialValue, end != .max { break }
            let next = queue.withLock { queue -> UInt64? in
                let next = queue.nextDeadline
                alarm.store(next ?? .max, ordering: .relaxed)
                return next
            }
            let wait = min(next ?? .max, now >= end ? end + Self.patience : end)
            _ = keeper.wait(until: wait == .max ? nil : max(wait, now + 2_000_000))
            let (failures, cuts) = queue.withLock { $0.expire(at: MonotonicClock.now) }
            for cut in cuts { wakeUps[cut].wake() }
            if !failures.isEmpty { metrics.deadlinesExceeded.increment(by: failures.count) }
            for failure in failures { failure.token.resume(returning: .failure(failure.error)) }
        }
        for continuation in takeWaiting() { continuation.resume() }
    }

    // MARK: The end

    /// When draining ends; nothing ends before a shutdown.
    private let drainDeadline = Atomic<UInt64>(.max)
    /// How long threads may take to notice that draining ended: one second.
    private static let patience: UInt64 = 1_000_000_000

    /// Serves what waits until the deadline and takes nothing more.
    func close(drainingUntil deadline: UInt64) {
        drainDeadline.store(deadline, ordering: .relaxed)
        _ = queue.withLock { $0.close() }
        for wakeUp in wakeUps { wakeUp.wake() }
        keeper.wake()
    }

    /// Fails what is left.
    func abort() {
        let (failures, _) = queue.withLock { $0.abort() }
        for wakeUp in wakeUps { wakeUp.wake() }
        for failure in failures { failure.token.resume(returning: .failure(failure.error)) }
    }

    /// Returns when every connection's thread has ended, or a second after the drain's deadline.
    func ended() async {
        await withCheckedContinuation { continuation in
            let isOver = threads.withLock { threads in
                if threads.isOver { return true }
                threads.waiting.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
    }

    /// The keeper notices the last one and resumes who waits.
    private func threadEnded() {
        threads.withLock { $0.running -= 1 }
        keeper.wake()
    }

    private func takeWaiting() -> [CheckedContinuation<Void, Never>] {
        threads.withLock { threads in
            threads.isOver = true
            defer { threads.waiting = [] }
            return threads.waiting
        }
    }
}
