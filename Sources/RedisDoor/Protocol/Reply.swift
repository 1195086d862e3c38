/// An answer, before it is known in which version of the protocol it is written.
package enum Reply: Sendable {
    case ok
    /// A status without line ends.
    case simple(String)
    /// The code in capitals, then the words.
    case error(String)
    case integer(Int64)
    case bulk([UInt8])
    /// A long value in its parts.
    case parts([[UInt8]])
    case null
    /// No array, where there would have been one.
    case nullArray
    case array([Reply])
    /// Keys and values in turn; a flat array in version 2.
    case map([Reply])
    case set([Reply])
    /// Text for people.
    case verbatim(String)
    /// Nothing at all.
    case silent

    static func text(_ text: String) -> Reply { .bulk(Array(text.utf8)) }
    static func count(_ count: Int) -> Reply { .integer(Int64(count)) }
    static func flag(_ flag: Bool) -> Reply { .integer(flag ? 1 : 0) }

    var isError: Bool { if case .error = self { true } else { false } }
}

/// Redis's own words for what clients get wrong.
extension Reply {
    static let syntaxError = Reply.error("ERR syntax error")
    static let notInteger = Reply.error("ERR value is not an integer or out of range")
    static let wrongType = Reply.error("WRONGTYPE Operation against a key holding the wrong kind of value")
    static let overflow = Reply.error("ERR increment or decrement would overflow")
    static let tooLong = Reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    static let noAuthentication = Reply.error("NOAUTH Authentication required.")

    static func wrongArity(_ command: String) -> Reply {
        .error("ERR wrong number of arguments for '\(command)' command")
    }

    static func invalidExpiry(_ command: String) -> Reply { .error("ERR invalid expire time in '\(command)' command") }

    static func unknownSubcommand(_ word: [UInt8], of command: String) -> Reply {
        .error("ERR unknown subcommand '\(String(decoding: word.prefix(128), as: UTF8.self))'. Try \(command) HELP.")
    }
}
