/// One SQL command with its parameters `$1`, `$2`, …
///
/// Values never become part of the text, so texts are few and the server prepares each once per connection.
/// Requests share transactions, so a statement must not begin or end one.
public struct Statement: Hashable, Sendable {
    public var sql: String
    public var parameters: [SQLValue]

    public init(_ sql: String, _ parameters: [SQLValue] = []) {
        self.sql = sql
        self.parameters = parameters
    }

    /// About as many bytes as it takes on the wire.
    var byteCount: Int { parameters.reduce(sql.utf8.count + 64) { $0 + $1.byteCount } }

    /// libpq and the protocol count parameters with 16 bits.
    static let maximumParameters = 65_535

    /// - Throws: ``PostgreSQLError/Kind/invalidRequest`` when the server could never accept it.
    func validate() throws(PostgreSQLError) {
        guard !sql.utf8.contains(0) else {
            throw PostgreSQLError(.invalidRequest, "the statement holds U+0000")
        }
        guard parameters.count <= Self.maximumParameters else {
            throw PostgreSQLError(
                .invalidRequest, "\(parameters.count) parameters; \(Self.maximumParameters) are possible")
        }
        for (index, parameter) in parameters.enumerated() where parameter.holdsNul {
            throw PostgreSQLError(
                .invalidRequest, "parameter $\(index + 1) holds U+0000, which PostgreSQL text cannot hold")
        }
        if let word = firstWord, Self.transactionWords.contains(word) {
            throw PostgreSQLError(.invalidRequest, "\(word) would end the transaction that requests share")
        }
    }

    private static let transactionWords: Set<String> = [
        "ABORT", "BEGIN", "COMMIT", "END", "PREPARE", "RELEASE", "ROLLBACK", "SAVEPOINT", "START",
    ]

    private var firstWord: String? {
        sql.split(maxSplits: 1, omittingEmptySubsequences: true, whereSeparator: { $0.isWhitespace || $0 == ";" })
            .first?.uppercased()
    }
}
