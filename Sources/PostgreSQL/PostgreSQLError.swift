/// Why a request has no result, and whether it may have taken effect all the same.
public struct PostgreSQLError: Error, Sendable, Hashable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// The server refused the statement; ``PostgreSQLError/sqlState`` says why.
        case server
        /// No connection is up and the last attempt failed.
        case unavailable
        /// The connection broke while the request was on it.
        case connectionLost
        /// The caller's deadline passed.
        case deadlineExceeded
        /// The caller's task was cancelled.
        case cancelled
        /// As much waits as may.
        case overloaded
        /// The client is shutting down or was shut down.
        case shuttingDown
        /// The statement or a parameter can never be sent; nothing was.
        case invalidRequest
        /// The server answered, but not with what the caller reads.
        case unexpectedResult
    }

    /// What became of the statements.
    public enum Outcome: Hashable, Sendable {
        case notCommitted
        /// They may have been committed: ask before repeating what must happen once.
        case unknown
    }

    public var kind: Kind
    public var message: String
    public var outcome: Outcome
    /// Five characters, of which the first two are the class (PostgreSQL documentation, appendix A).
    public var sqlState: String?
    /// May hold values of rows: not part of the description, not to be logged.
    public var detail: String?
    public var constraint: String?

    public init(
        _ kind: Kind, _ message: String, outcome: Outcome = .notCommitted, sqlState: String? = nil,
        detail: String? = nil, constraint: String? = nil
    ) {
        self.kind = kind
        self.message = message
        self.outcome = outcome
        self.sqlState = sqlState
        self.detail = detail
        self.constraint = constraint
    }

    /// Whether the same request may succeed later. Whether it may be *repeated* is for ``outcome`` to say.
    public var isRetryable: Bool {
        switch kind {
        case .unavailable, .connectionLost, .deadlineExceeded, .overloaded: return true
        case .cancelled, .shuttingDown, .invalidRequest, .unexpectedResult: return false
        case .server:
            guard let sqlState else { return false }
            // Serialization failure and deadlock; lock not available; statement cancelled by its timeout.
            if ["40001", "40P01", "55P03", "57014"].contains(sqlState) { return true }
            // Connection exception, insufficient resources, shutdown or crash of the server, read-only standby.
            return sqlState.hasPrefix("08") || sqlState.hasPrefix("53") || sqlState.hasPrefix("57P")
                || sqlState == "25006"
        }
    }

    public var description: String {
        let state = sqlState.map { " (SQLSTATE \($0))" } ?? ""
        return message + state
    }
}
