internal import CLibPQ
internal import CoreMetrics
internal import Glibc
internal import Logging

/// One connection's thread: connects, serves batches, and connects again when the connection breaks.
///
/// Everything here is confined to that thread. It blocks only in `poll`, and in name resolution while it connects;
/// callers do not depend on either, for the pool's keeper ends their waits.
final class ConnectionThread {
    private let number: Int
    private let pool: RequestPool
    private let wakeUp: WakeUp
    private var backoff: Backoff
    private var generator: SplitMix64
    private let logger: Logger

    init(number: Int, pool: RequestPool, wakeUp: WakeUp, seed: UInt64) {
        self.number = number
        self.pool = pool
        self.wakeUp = wakeUp
        backoff = Backoff(minimum: pool.settings.minimumBackoff, maximum: pool.settings.maximumBackoff)
        generator = SplitMix64(seed: seed)
        logger = pool.logger
    }

    /// Returns when the pool is closed and nothing waits any more.
    func run() {
        while !pool.isDone {
            switch connect() {
            case .failure(let failure):
                pool.connectFailed(number, failure.message)
                logger.debug("PostgreSQL connection failed", metadata: ["error": "\(failure.message)"])
                pause(backoff.next(using: &generator))
            case .success(let connection):
                pool.connected(number)
                logger.info("PostgreSQL connected", metadata: ["connection": "\(number)"])
                let ending = serve(connection)
                PQfinish(connection)
                pool.disconnected(number)
                switch ending {
                case .exit: return
                case .lost(let message):
                    pool.metrics.connectionsLost.increment()
                    logger.warning("PostgreSQL connection lost", metadata: ["error": "\(message)"])
                    pause(backoff.next(using: &generator))
                }
            }
        }
    }

    // MARK: Connecting

    private struct ConnectFailure: Error {
        var message: String
    }

    private func connect() -> Result<OpaquePointer, ConnectFailure> {
        let keywords = pool.settings.keywords
        let started = withCStrings(keywords.map(\.0)) { names in
            withCStrings(keywords.map(\.1)) { values in PQconnectStartParams(names, values, 0) }
        }
        guard let connection = started else { return .failure(ConnectFailure(message: "libpq is out of memory")) }
        // libpq prints notices to standard error unless told otherwise; ours are of no interest.
        PQsetNoticeProcessor(connection, { _, _ in }, nil)
        if let message = establish(connection) {
            PQfinish(connection)
            return .failure(ConnectFailure(message: message))
        }
        return .success(connection)
    }

    /// - Returns: why the connection is of no use, or nil.
    private func establish(_ connection: OpaquePointer) -> String? {
        guard PQstatus(connection) != CONNECTION_BAD else { return lastError(of: connection) }
        let deadline = MonotonicClock.deadline(after: pool.settings.connectTimeout)
        var step = PGRES_POLLING_WRITING
        while true {
            switch step {
            case PGRES_POLLING_OK:
                // Row by row the protocol of version 14 would do, but client_connection_check_interval needs it too.
                guard PQserverVersion(connection) >= 150_000 else {
                    return "the server is PostgreSQL \(PQserverVersion(connection) / 10_000); 15 or later is needed"
                }
                guard PQsetnonblocking(connection, 1) == 0, PQenterPipelineMode(connection) == 1 else {
                    return lastError(of: connection)
                }
                return nil
            case PGRES_POLLING_FAILED:
                return lastError(of: connection)
            default:
                let ready = wakeUp.wait(
                    until: deadline, socket: PQsocket(connection), reading: step == PGRES_POLLING_READING,
                    writing: step == PGRES_POLLING_WRITING)
                if pool.isDone { return "shutting down" }
                if MonotonicClock.now >= deadline {
                    return "no connection to \(pool.settings.hosts.joined(separator: ", ")) port "
                        + "\(pool.settings.port) within \(pool.settings.connectTimeout)"
                }
                if ready.readable || ready.writable { step = PQconnectPoll(connection) }
            }
        }
    }

    /// Waits between attempts; only the end of the pool cuts it short.
    private func pause(_ nanoseconds: UInt64) {
        let deadline = MonotonicClock.now + nanoseconds
        while MonotonicClock.now < deadline, !pool.isDone { _ = wakeUp.wait(until: deadline) }
    }

    // MARK: Serving

    private enum Ending {
        case exit
        case lost(String)
    }

    private func serve(_ connection: OpaquePointer) -> Ending {
        let pipeline = Pipeline(connection: connection)
        while true {
            switch pool.take(for: number) {
            case .exit: return .exit
            case .wait:
                let ready = wakeUp.wait(until: nil, socket: PQsocket(connection), reading: true)
                if ready.readable {
                    guard PQconsumeInput(connection) == 1 else { return .lost(lastError(of: connection)) }
                    // Parses what came unasked: parameters, notices, or the server's farewell.
                    while let notification = PQnotifies(connection) { PQfreemem(notification) }
                }
                guard PQstatus(connection) == CONNECTION_OK else { return .lost(lastError(of: connection)) }
            case .batch(let batch):
                let failure = perform(batch, on: pipeline)
                pool.batchEnded(number)
                if let failure { return .lost(failure) }
                backoff.reset()
            }
        }
    }

    /// Serves one batch; afterwards every request in it is answered.
    ///
    /// - Returns: why the connection must be closed, or nil.
    private func perform(_ batch: [RequestPool.Queue.Request], on pipeline: Pipeline) -> String? {
        let start = MonotonicClock.now
        pool.metrics.batchRequests.record(batch.count)
        defer { pool.metrics.batchDuration.recordNanoseconds(Int64(clamping: MonotonicClock.now - start)) }
        // Together first. Whatever a failure has undone goes again, each for itself.
        var flight = Pipeline.Flight(batch, isTogether: true)
        if let failure = fly(&flight, on: pipeline) { return failure }
        guard !flight.undone.isEmpty else { return nil }
        pool.metrics.batchesSeparated.increment()
        var second = Pipeline.Flight(flight.undone, isTogether: false)
        return fly(&second, on: pipeline)
    }

    private func fly(_ flight: inout Pipeline.Flight, on pipeline: Pipeline) -> String? {
        var failure = pipeline.send(&flight)
        while failure == nil, !flight.isLanded {
            let ready = wakeUp.wait(
                until: nil, socket: PQsocket(pipeline.connection), reading: true, writing: !flight.isFlushed)
            if ready.readable || ready.writable {
                failure = pipeline.advance(&flight)
                answer(&flight)
            }
            if failure == nil, !flight.isLanded, pool.isAbandoned(number) {
                failure = "closed to stop a batch that nobody waits for any more"
            }
        }
        if let failure {
            // Commits happen at the last message of a transaction: before that was handed over none can have.
            let outcome: PostgreSQLError.Outcome = flight.isFlushed ? .unknown : .notCommitted
            let error = PostgreSQLError(
                .connectionLost, "the connection to PostgreSQL was lost: \(failure)", outcome: outcome)
            pool.finish(flight.unanswered.map { ($0, .failure(error)) })
            let undone = PostgreSQLError(.connectionLost, error.message)
            pool.finish(flight.undone.map { ($0.id, .failure(undone)) })
        }
        return failure
    }

    private func answer(_ flight: inout Pipeline.Flight) {
        let answers = flight.takeAnswers()
        guard !answers.isEmpty else { return }
        for (_, answer) in answers {
            if case .failure = answer { pool.metrics.failures.increment() }
        }
        pool.finish(answers)
    }
}

/// The message of the last failed call on the connection, on one line.
func lastError(of connection: OpaquePointer) -> String {
    let text = PQerrorMessage(connection).map { String(cString: $0) } ?? ""
    let lines = text.split(whereSeparator: \.isNewline).map { String($0.trimming { $0.isWhitespace }) }
    return lines.isEmpty ? "the server closed the connection" : lines.joined(separator: "; ")
}

extension Substring {
    func trimming(_ isTrimmed: (Character) -> Bool) -> Substring {
        var rest = drop(while: isTrimmed)
        while let last = rest.last, isTrimmed(last) { rest.removeLast() }
        return rest
    }
}

/// Calls `body` with a null-terminated array of C strings.
func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
    var bytes: [CChar] = []
    var offsets: [Int] = []
    for string in strings {
        offsets.append(bytes.count)
        bytes.append(contentsOf: string.utf8CString)
    }
    return bytes.withUnsafeBufferPointer { buffer in
        var pointers = offsets.map { offset in buffer.baseAddress.map { $0 + offset } }
        pointers.append(nil)
        return pointers.withUnsafeBufferPointer { list in
            guard let base = list.baseAddress else { preconditionFailure("an array with a terminator is not empty") }
            return body(base)
        }
    }
}
