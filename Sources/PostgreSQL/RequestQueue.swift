/// What waits for the server and what is on its way there: a value that takes events and returns what to do.
///
///     submitted ─→ waiting ─ taken ─→ in flight ─ finished ─→ gone
///         │           └─ abandoned, expired, failed ─→ gone     (not committed)
///         └─ refused                  └─ abandoned, expired ─→ gone     (outcome unknown)
///
/// - A request's token leaves the queue exactly once: whoever gets it resumes the caller.
/// - A batch in flight that nobody waits for any more is cut: its connection is closed, and the server notices.
/// - Without any connection up and after a failed attempt the queue is shut: requests fail at once with the cause.
package struct RequestQueue<Token: Sendable>: Sendable {
    package struct Request: Sendable {
        package var id: UInt64
        package var statements: [Statement]
        package var byteCount: Int
        /// Not to share a transaction with neighbours.
        package var isAlone: Bool
        /// Nanoseconds on the monotonic clock.
        package var deadline: UInt64

        package init(id: UInt64, statements: [Statement], byteCount: Int, isAlone: Bool, deadline: UInt64) {
            self.id = id
            self.statements = statements
            self.byteCount = byteCount
            self.isAlone = isAlone
            self.deadline = deadline
        }
    }

    package struct Limits: Sendable {
        package var requests: Int
        package var waitingBytes: Int
        package var batchRequests: Int
        package var batchBytes: Int

        package init(requests: Int, waitingBytes: Int, batchRequests: Int, batchBytes: Int) {
            self.requests = requests
            self.waitingBytes = waitingBytes
            self.batchRequests = batchRequests
            self.batchBytes = batchBytes
        }
    }

    package enum Take: Sendable {
        case batch([Request])
        /// Nothing waits; the connection is woken when something does.
        case wait
        /// Shutting down and nothing waits.
        case exit
    }

    /// A caller to resume with an error.
    package struct Failure: Sendable {
        package var token: Token
        package var error: PostgreSQLError
    }

    private enum Phase: Sendable {
        case waiting
        case inFlight(connection: Int)
    }

    private struct Entry: Sendable {
        var request: Request
        var token: Token
        var phase: Phase
    }

    private let limits: Limits
    private var entries: [UInt64: Entry] = [:]
    /// Ids in order of arrival; those no longer in `entries` are skipped.
    private var order: [UInt64] = []
    private var orderStart = 0
    package private(set) var waitingCount = 0
    package private(set) var waitingBytes = 0
    /// Requests of each connection's batch that still have a caller.
    private var wanted: [Int]
    /// Requests of each connection's batch that were not finished, with or without a caller.
    private var isFlying: [Bool]
    private var isUp: [Bool]
    private var idle: [Int] = []
    private var isClosing = false
    /// Why there is no connection, while there is none.
    package private(set) var unavailable: PostgreSQLError?

    package init(connections: Int, limits: Limits) {
        self.limits = limits
        wanted = Array(repeating: 0, count: connections)
        isFlying = Array(repeating: false, count: connections)
        isUp = Array(repeating: false, count: connections)
    }

    package var count: Int { entries.count }
    package var connectionsUp: Int { isUp.count { $0 } }
    package var closing: Bool { isClosing }

    /// The earliest deadline of all requests.
    package var nextDeadline: UInt64? { entries.values.lazy.map(\.request.deadline).min() }

    // MARK: Callers

    package enum Submission: Sendable {
        /// Queued; wake this connection when there is one.
        case accepted(wake: Int?)
        case refused(PostgreSQLError)
    }

    package mutating func submit(_ request: Request, token: Token) -> Submission {
        if isClosing { return .refused(PostgreSQLError(.shuttingDown, "the PostgreSQL client is shutting down")) }
        if let unavailable { return .refused(unavailable) }
        guard entries.count < limits.requests else {
            return .refused(PostgreSQLError(.overloaded, "\(entries.count) requests wait for PostgreSQL already"))
        }
        guard waitingCount == 0 || waitingBytes + request.byteCount <= limits.waitingBytes else {
            return .refused(PostgreSQLError(.overloaded, "\(waitingBytes) bytes wait for PostgreSQL already"))
        }
        precondition(entries[request.id] == nil, "request \(request.id) is in the queue already")
        entries[request.id] = Entry(request: request, token: token, phase: .waiting)
        order.append(request.id)
        waitingCount += 1
        // Those that gave up leave their ids behind; while a connection hangs, nobody else would clear them.
        if order.count - orderStart > 2 * waitingCount + 1024 {
            order = order[orderStart...].filter { entries[$0] != nil }
            orderStart = 0
        }
        waitingBytes += request.byteCount
        return .accepted(wake: idle.popLast())
    }

    /// The caller of a request went away.
    ///
    /// - Returns: the token with the error to resume it with, and the connection whose batch to cut.
    package mutating func abandon(_ id: UInt64, _ kind: PostgreSQLError.Kind, _ message: String) -> (
        Failure?, cut: Int?
    ) {
        guard let entry = entries[id] else { return (nil, nil) }
        switch entry.phase {
        case .waiting:
            removeWaiting(entry)
            return (Failure(token: entry.token, error: PostgreSQLError(kind, message)), nil)
        case .inFlight(let connection):
            entries[id] = nil
            wanted[connection] -= 1
            let error = PostgreSQLError(kind, message, outcome: .unknown)
            return (Failure(token: entry.token, error: error), wanted[connection] == 0 ? connection : nil)
        }
    }

    /// Fails what is past its deadline.
    package mutating func expire(at now: UInt64) -> ([Failure], cuts: [Int]) {
        var failures: [Failure] = []
        var cuts: [Int] = []
        for id in entries.values.filter({ $0.request.deadline <= now }).map(\.request.id).sorted() {
            let (failure, cut) = abandon(id, .deadlineExceeded, "PostgreSQL did not answer before the deadline")
            if let failure { failures.append(failure) }
            if let cut { cuts.append(cut) }
        }
        return (failures, cuts)
    }

    // MARK: Connections

    package mutating func take(for connection: Int) -> Take {
        precondition(!isFlying[connection], "connection \(connection) has a batch in flight")
        var batch: [Request] = []
        var bytes = 0
        while orderStart < order.count {
            guard let entry = entries[order[orderStart]] else {
                orderStart += 1
                continue
            }
            let request = entry.request
            if !batch.isEmpty {
                if request.isAlone || batch[0].isAlone || batch.count >= limits.batchRequests
                    || bytes + request.byteCount > limits.batchBytes
                {
                    break
                }
            }
            orderStart += 1
            removeWaiting(entry)
            entries[request.id] = Entry(request: request, token: entry.token, phase: .inFlight(connection: connection))
            batch.append(request)
            bytes += request.byteCount
        }
        if orderStart > 1024, orderStart * 2 > order.count {
            order.removeFirst(orderStart)
            orderStart = 0
        }
        if batch.isEmpty {
            if isClosing { return .exit }
            if !idle.contains(connection) { idle.append(connection) }
            return .wait
        }
        idle.removeAll { $0 == connection }
        wanted[connection] = batch.count
        isFlying[connection] = true
        return .batch(batch)
    }

    /// Whether nobody waits for the connection's batch any more.
    package func isAbandoned(_ connection: Int) -> Bool { isFlying[connection] && wanted[connection] == 0 }

    /// The token of a request that was in flight, unless its caller went away.
    package mutating func finish(_ id: UInt64) -> Token? {
        guard let entry = entries[id], case .inFlight(let connection) = entry.phase else { return nil }
        entries[id] = nil
        wanted[connection] -= 1
        return entry.token
    }

    /// Every request of the connection's batch is finished or abandoned.
    package mutating func batchEnded(_ connection: Int) {
        precondition(wanted[connection] == 0, "\(wanted[connection]) requests without an answer")
        isFlying[connection] = false
    }

    package mutating func connected(_ connection: Int) {
        isUp[connection] = true
        unavailable = nil
    }

    package mutating func disconnected(_ connection: Int) {
        isUp[connection] = false
        idle.removeAll { $0 == connection }
    }

    /// An attempt to connect failed. Without any other connection, what waits fails with the cause.
    package mutating func connectFailed(_ connection: Int, _ message: String) -> [Failure] {
        disconnected(connection)
        guard connectionsUp == 0 else { return [] }
        let error = PostgreSQLError(.unavailable, message)
        unavailable = error
        return failWaiting(error)
    }

    // MARK: The end

    /// Takes nothing more; what waits is still served.
    ///
    /// - Returns: connections to wake.
    package mutating func close() -> [Int] {
        isClosing = true
        defer { idle.removeAll() }
        return idle
    }

    /// Fails everything, sent or not.
    package mutating func abort() -> ([Failure], cuts: [Int]) {
        isClosing = true
        var failures: [Failure] = []
        var cuts: [Int] = []
        for id in entries.keys.sorted() {
            let (failure, cut) = abandon(id, .shuttingDown, "the PostgreSQL client was shut down")
            if let failure { failures.append(failure) }
            if let cut { cuts.append(cut) }
        }
        return (failures, cuts)
    }

    private mutating func failWaiting(_ error: PostgreSQLError) -> [Failure] {
        var failures: [Failure] = []
        for id in order[orderStart...] {
            guard let entry = entries[id] else { continue }
            removeWaiting(entry)
            failures.append(Failure(token: entry.token, error: error))
        }
        order.removeAll()
        orderStart = 0
        return failures
    }

    private mutating func removeWaiting(_ entry: Entry) {
        entries[entry.request.id] = nil
        waitingCount -= 1
        waitingBytes -= entry.request.byteCount
    }
}
