internal import CLibPQ

/// Sends batches and reads their results in libpq's pipeline mode (PostgreSQL documentation, section 34.5).
///
/// Everything between two synchronisation points is one transaction, committed at the second. Results come back in
/// the order of what was sent: each statement's end in a null, synchronisation points do not.
final class Pipeline {
    typealias Request = RequestPool.Queue.Request

    let connection: OpaquePointer
    private var prepared: [PreparedKey: String] = [:]
    /// Names are never used twice, for the server keeps those that we forget.
    private var serial = 0
    /// Texts are few, for values are no part of them. Beyond this many, statements run without being prepared.
    private static let maximumPrepared = 256

    private struct PreparedKey: Hashable {
        var sql: String
        var types: [UInt32]
    }

    init(connection: OpaquePointer) { self.connection = connection }

    /// One round trip.
    struct Flight {
        fileprivate enum Expected {
            case preparation(request: Int, sql: String, types: [UInt32], name: String)
            case statement(request: Int, isPrepared: Bool)
            case synchronisation(requests: Range<Int>)
        }

        fileprivate let requests: [Request]
        fileprivate let isTogether: Bool
        fileprivate var expected: [Expected] = []
        fileprivate var expectedStart = 0
        fileprivate var rows: [[Rows]]
        /// The first error since the last synchronisation point.
        fileprivate var error: PostgreSQLError?
        fileprivate var failedPrepared = false
        fileprivate var answers: [(id: UInt64, answer: RequestPool.Answer)] = []
        fileprivate var landedRequests = 0
        /// Whether the statement due first has had a result, so that a null ends it.
        fileprivate var sawResult = false
        /// Whether everything was handed to the kernel.
        fileprivate(set) var isFlushed = false
        /// Undone because of a neighbour or of a stale prepared statement: to be repeated.
        fileprivate(set) var undone: [Request] = []

        init(_ requests: [Request], isTogether: Bool) {
            self.requests = requests
            self.isTogether = isTogether
            rows = Array(repeating: [], count: requests.count)
        }

        /// Whether every result was read.
        var isLanded: Bool { isFlushed && expectedStart == expected.count }

        /// Requests whose synchronisation point was not reached.
        var unanswered: [UInt64] { requests[landedRequests...].map(\.id) }

        mutating func takeAnswers() -> [(id: UInt64, answer: RequestPool.Answer)] {
            defer { answers = [] }
            return answers
        }
    }

    /// Hands the flight to libpq and as much as fits to the kernel.
    ///
    /// - Returns: why the connection is of no use any more, or nil.
    func send(_ flight: inout Flight) -> String? {
        var preparing: [PreparedKey: String] = [:]
        for (index, request) in flight.requests.enumerated() {
            for statement in request.statements {
                let types = statement.parameters.map(\.typeID)
                let key = PreparedKey(sql: statement.sql, types: types)
                // A preparation is lost when something before it fails: alone, statements go unprepared.
                var name = flight.isTogether ? prepared[key] ?? preparing[key] : nil
                if name == nil, flight.isTogether, !request.isAlone,
                    prepared.count + preparing.count < Self.maximumPrepared
                {
                    serial += 1
                    let fresh = "esper_\(serial)"
                    guard PQsendPrepare(connection, fresh, statement.sql, Int32(types.count), types) == 1 else {
                        return lastError(of: connection)
                    }
                    flight.expected.append(.preparation(request: index, sql: statement.sql, types: types, name: fresh))
                    preparing[key] = fresh
                    name = fresh
                }
                guard send(statement, types: types, name: name) else { return lastError(of: connection) }
                flight.expected.append(.statement(request: index, isPrepared: name != nil))
            }
            if !flight.isTogether || index == flight.requests.count - 1 {
                guard PQpipelineSync(connection) == 1 else { return lastError(of: connection) }
                let first = flight.isTogether ? 0 : index
                flight.expected.append(.synchronisation(requests: first..<index + 1))
            }
        }
        return flush(&flight)
    }

    /// Reads and writes what is possible without waiting.
    ///
    /// - Returns: why the connection is of no use any more, or nil.
    func advance(_ flight: inout Flight) -> String? {
        guard PQconsumeInput(connection) == 1 else {
            // What came before the end may still hold the answers.
            let message = lastError(of: connection)
            _ = readResults(&flight)
            return flight.isLanded ? nil : message
        }
        if !flight.isFlushed, let failure = flush(&flight) { return failure }
        return readResults(&flight)
    }

    private func flush(_ flight: inout Flight) -> String? {
        switch PQflush(connection) {
        case 0: flight.isFlushed = true
        case 1: break
        default: return lastError(of: connection)
        }
        return nil
    }

    // MARK: Sending

    private func send(_ statement: Statement, types: [UInt32], name: String?) -> Bool {
        let count = statement.parameters.count
        var bytes: [UInt8] = []
        var lengths: [Int32] = []
        var offsets: [Int?] = []
        for parameter in statement.parameters {
            let start = bytes.count
            offsets.append(parameter.encode(into: &bytes) ? start : nil)
            lengths.append(Int32(bytes.count - start))
        }
        // An empty value is not null: it needs an address too.
        bytes.append(0)
        let formats = [Int32](repeating: 1, count: count)
        return bytes.withUnsafeBytes { raw in
            guard let base = raw.baseAddress?.assumingMemoryBound(to: CChar.self) else { return false }
            let values = offsets.map { offset in offset.map { base + $0 } }
            if let name {
                return PQsendQueryPrepared(connection, name, Int32(count), values, lengths, formats, 1) == 1
            }
            return PQsendQueryParams(connection, statement.sql, Int32(count), types, values, lengths, formats, 1) == 1
        }
    }

    // MARK: Receiving

    private func readResults(_ flight: inout Flight) -> String? {
        while flight.expectedStart < flight.expected.count {
            guard PQisBusy(connection) == 0 else { return nil }
            guard let result = PQgetResult(connection) else {
                // The end of a statement's results. A commit that failed ends in a null too; its synchronisation
                // point is still to come.
                if PQstatus(connection) == CONNECTION_BAD { return lastError(of: connection) }
                guard flight.sawResult else { return "libpq has no result where one is due" }
                flight.sawResult = false
                if case .synchronisation = flight.expected[flight.expectedStart] { continue }
                flight.expectedStart += 1
                continue
            }
            defer { PQclear(result) }
            if PQstatus(connection) == CONNECTION_BAD { return lastError(of: connection) }
            if let failure = take(result, into: &flight) { return failure }
        }
        return nil
    }

    private func take(_ result: OpaquePointer, into flight: inout Flight) -> String? {
        let expected = flight.expected[flight.expectedStart]
        switch PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC:
            guard case .synchronisation(let requests) = expected else { return "a synchronisation point came early" }
            flight.expectedStart += 1
            flight.sawResult = false
            synchronised(requests, in: &flight)
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
            flight.sawResult = true
            switch expected {
            case .preparation(_, let sql, let types, let name):
                prepared[PreparedKey(sql: sql, types: types)] = name
            case .statement(let request, _): flight.rows[request].append(Self.rows(of: result))
            case .synchronisation: return "a result came where none was due"
            }
        case PGRES_PIPELINE_ABORTED:
            flight.sawResult = true
        case PGRES_FATAL_ERROR:
            flight.sawResult = true
            if flight.error == nil {
                flight.error = Self.error(of: result)
                if case .statement(_, let isPrepared) = expected { flight.failedPrepared = isPrepared }
            }
        default:
            // COPY and the like make the protocol wait for us: no statement of ours does that.
            return "the server answered with \(String(cString: PQresStatus(PQresultStatus(result))))"
        }
        return nil
    }

    /// The transaction of these requests is over.
    private func synchronised(_ requests: Range<Int>, in flight: inout Flight) {
        defer {
            flight.landedRequests = requests.upperBound
            flight.error = nil
            flight.failedPrepared = false
        }
        guard let error = flight.error else {
            for index in requests { flight.answers.append((flight.requests[index].id, .success(flight.rows[index]))) }
            return
        }
        // A table changed under a prepared statement, or a pooler gave us another session.
        let isStale = flight.failedPrepared && (error.sqlState == "0A000" || error.sqlState == "26000")
        if requests.count > 1 || isStale {
            if isStale { prepared.removeAll() }
            flight.undone.append(contentsOf: flight.requests[requests])
        } else {
            flight.answers.append((flight.requests[requests.lowerBound].id, .failure(error)))
        }
    }

    private static func rows(of result: OpaquePointer) -> Rows {
        let columnCount = PQnfields(result)
        let rowCount = PQntuples(result)
        let columns = (0..<columnCount).map {
            Rows.Column(name: PQfname(result, $0).map { String(cString: $0) } ?? "", typeID: PQftype(result, $0))
        }
        var cells: [[UInt8]?] = []
        cells.reserveCapacity(Int(columnCount) * Int(rowCount))
        for row in 0..<rowCount {
            for column in 0..<columnCount {
                if PQgetisnull(result, row, column) == 1 {
                    cells.append(nil)
                } else {
                    let bytes = UnsafeRawBufferPointer(
                        start: PQgetvalue(result, row, column), count: Int(PQgetlength(result, row, column)))
                    cells.append([UInt8](bytes))
                }
            }
        }
        let affected = PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0
        return Rows(columns: columns, cells: cells, count: Int(rowCount), affected: affected)
    }

    private static func error(of result: OpaquePointer) -> PostgreSQLError {
        // PG_DIAG_SQLSTATE and its neighbours are character constants that Swift does not import.
        func field(_ code: Character) -> String? {
            PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) }
        }
        return PostgreSQLError(
            .server, field("M") ?? "the server refused the statement", sqlState: field("C"), detail: field("D"),
            constraint: field("n"))
    }
}
