import ArgumentParser
import EsperTypes

/// A session as people write it: the sixteen hexadecimal digits that every command prints.
struct SessionArgument: ExpressibleByArgument, Sendable {
    var id: SessionID

    init?(argument: String) {
        guard let id = SessionID(argument), id.rawValue != 0 else { return nil }
        self.id = id
    }

    var defaultValueDescription: String { id.description }
}

/// How long a session lives without a keep-alive.
struct SessionOptions: ParsableArguments {
    @Option(help: "The session's time to live: it ends when nobody keeps it alive for so long.")
    var ttl = WrittenDuration(.seconds(15))

    @Option(help: "A name for the session, for people; default: host and process.")
    var label: String?
}
