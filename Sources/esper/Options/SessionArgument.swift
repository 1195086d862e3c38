import ArgumentParser
import EsperTypes

/// A session as people write it: the sixteen hexadecimal digits that every command prints.
struct SessionArgument: Sendable {
    var id: SessionID

    static func read(_ text: String) throws -> Self {
        guard let id = SessionID(text), id.rawValue != 0 else {
            throw ValidationError("write the session's sixteen hexadecimal digits; 'esper session list' shows them")
        }
        return Self(id: id)
    }
}

/// How long a session lives without a keep-alive.
struct SessionOptions: ParsableArguments {
    @Option(
        help: "The session's time to live: it ends when nobody keeps it alive for so long.",
        transform: WrittenDuration.read)
    var ttl = WrittenDuration(.seconds(15))

    @Option(help: "A name for the session, for people; default: host and process.")
    var label: String?
}
