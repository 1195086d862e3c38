/// Why a command has no answer, or which error the server answered.
public struct RedisError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// The server refused the command; ``RedisError/code`` says why.
        case server
        /// No connection is up and the last attempt failed.
        case unavailable
        /// The connection broke while the command was on it: it may have taken effect.
        case connectionLost
        /// The caller's deadline passed: the command may have taken effect, or may still.
        case deadlineExceeded
        /// The caller's task was cancelled, as above.
        case cancelled
        /// As much waits as may.
        case overloaded
        /// The client is closed.
        case shuttingDown
        /// The settings or the command can never work; nothing was sent.
        case invalidRequest
        /// The server answered what is not the protocol, is too large, or nobody asked for.
        case malformedAnswer
    }

    public var kind: Kind
    /// In words for an operator; holds neither passwords nor values.
    public var message: String
    /// The first word of a server's error: `NOAUTH`, `OOM`, `MOVED`; `ERR` when it has none of its own.
    public var code: String?

    public init(_ kind: Kind, _ message: String, code: String? = nil) {
        self.kind = kind
        self.message = message
        self.code = code
    }

    /// Reads an error as servers write it: a code in capitals, then words.
    ///
    /// What servers repeat of a command they do not know is left out, since it may be a password or a value.
    package init(answer: String) {
        let first = answer.prefix { $0 != " " }
        let hasCode = !first.isEmpty && first.utf8.allSatisfy { (0x41...0x5a).contains($0) }
        var words = answer
        if let echo = words.range(ofWords: ", with args") { words = String(words[..<echo]) }
        let printable = words.unicodeScalars.prefix(200).map { (0x20...0x7e).contains($0.value) ? Character($0) : "?" }
        self.init(.server, "Redis says: \(String(printable))", code: hasCode ? String(first) : "ERR")
    }

    public var description: String { message }
}

extension String {
    /// Where the words begin.
    fileprivate func range(ofWords words: String) -> String.Index? {
        indices.first { self[$0...].hasPrefix(words) }
    }
}
