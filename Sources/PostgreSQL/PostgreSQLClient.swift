public import Logging
internal import Synchronization

/// A few connections to one PostgreSQL server, each driven by a thread of its own in libpq's pipeline mode.
///
/// Requests that wait together share a round trip and a commit; a caller is resumed when the commit is known. When
/// one of them fails, the server has undone them all, and each is repeated in a transaction of its own: a bad row
/// never fails its neighbours. No cooperative thread or event loop blocks, whatever the server does.
///
/// - Deadlines and cancellation resume the caller at once. What was not sent yet is not committed; otherwise the
///   outcome is unknown, and when nobody waits for a batch any more its connection is closed, which makes the server
///   give the work up within a second.
/// - Lost connections come back by themselves, with a jittered back-off. While none is up and the last attempt
///   failed, requests fail at once as `.unavailable` with the cause.
/// - Threads live from ``start()`` until ``shutdown(drainingFor:)``.
public final class PostgreSQLClient: Sendable {
    private enum Life {
        case new, running, ended
    }

    private let pool: RequestPool
    private let seed: UInt64
    private let life = Mutex(Life.new)

    /// - Parameters:
    ///   - settings: without ``PostgreSQLSettings/problems``.
    ///   - seed: of the jitter between attempts to connect; different for each node.
    public init(settings: PostgreSQLSettings, logger: Logger, seed: UInt64) {
        precondition(settings.problems.isEmpty, "PostgreSQL settings: \(settings.problems)")
        pool = RequestPool(settings: settings, logger: logger)
        self.seed = seed
    }

    /// Begins to connect; requests made before wait. Again is harmless.
    public func start() {
        let isFirst = life.withLock { life in
            guard life == .new else { return false }
            life = .running
            return true
        }
        if isFirst { pool.start(seed: seed) }
    }

    /// Runs one statement in a transaction that it may share with unrelated requests.
    ///
    /// - Parameter deadline: counted from now; the settings' default when nil.
    public func query(_ statement: Statement, within deadline: Duration? = nil) async throws(PostgreSQLError) -> Rows {
        try await execute([statement], within: deadline)[0]
    }

    /// Runs the statements in order, all of them or none, and returns their results after the commit.
    ///
    /// - Parameters:
    ///   - deadline: counted from now; the settings' default when nil.
    ///   - isAlone: not to share a transaction with unrelated requests: for what waits for locks or changes the schema.
    public func execute(
        _ statements: [Statement], within deadline: Duration? = nil, isAlone: Bool = false
    ) async throws(PostgreSQLError) -> [Rows] {
        if statements.isEmpty { return [] }
        var byteCount = 0
        for statement in statements {
            try statement.validate()
            byteCount += statement.byteCount
        }
        guard byteCount <= pool.settings.maximumRequestBytes else {
            throw PostgreSQLError(
                .invalidRequest,
                "a request of \(byteCount) bytes; \(pool.settings.maximumRequestBytes) are allowed")
        }
        let request = RequestPool.Queue.Request(
            id: pool.nextID(), statements: statements, byteCount: byteCount, isAlone: isAlone,
            deadline: MonotonicClock.deadline(after: deadline ?? pool.settings.defaultDeadline))
        let answer = await withTaskCancellationHandler {
            await withCheckedContinuation { caller in
                pool.submit(request, caller: caller)
                // A cancellation before the request was in the queue found nothing there to cancel.
                if Task.isCancelled { pool.cancel(request.id) }
            }
        } onCancel: {
            pool.cancel(request.id)
        }
        return try answer.get()
    }

    /// Whether the server can be used now.
    public struct Status: Sendable {
        public var connectionsUp: Int
        /// Requests that wait or are in flight.
        public var requests: Int
        /// Why no connection is up, once an attempt has failed.
        public var unavailable: PostgreSQLError?
    }

    public var status: Status {
        let (connectionsUp, requests, unavailable) = pool.status
        return Status(connectionsUp: connectionsUp, requests: requests, unavailable: unavailable)
    }

    /// Takes no more requests, serves those that wait, fails what is left at the deadline and ends the threads.
    ///
    /// Returns when the threads have ended, or at the deadline plus a second when one is stuck in name resolution;
    /// such a thread ends by itself afterwards.
    public func shutdown(drainingFor drain: Duration = .seconds(5)) async {
        let before = life.withLock { life in
            defer { life = .ended }
            return life
        }
        guard before == .running else {
            pool.abort()
            return
        }
        pool.close(drainingUntil: MonotonicClock.deadline(after: drain))
        await pool.ended()
    }
}
