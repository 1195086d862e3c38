import ArgumentParser
import EsperClient
import EsperTypes

struct SessionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "Sessions, to which locks, leaderships and keys are attached.",
        subcommands: [SessionList.self, SessionRevoke.self])
}

struct SessionList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "Sessions that are alive.")

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let sessions = try await client.sessions()
            var table = Table("session", "ttl", "keys", "label", "principal")
            for session in sessions {
                table.add(
                    session.id.description, WrittenDuration(session.ttl).description, "\(session.keys)", session.label,
                    session.principal)
            }
            cluster.output.print(
                .fields([
                    "sessions": .array(
                        sessions.map { session in
                            .fields([
                                "session_id": .string(session.id.description),
                                "ttl_ms": .unsigned(WrittenDuration(session.ttl).milliseconds),
                                "label": .string(session.label), "principal": .string(session.principal),
                                "keys": .unsigned(session.keys),
                            ])
                        })
                ]),
                text: sessions.isEmpty ? "no sessions" : table.text)
        }
    }
}

struct SessionRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End a session now, with all that is attached to it.")

    @Argument(help: "The session.", transform: SessionArgument.read)
    var session: SessionArgument

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let (commit, deleted) = try await client.revoke(session.id)
            cluster.output.print(
                .object(commit.fields + [.init(name: "deleted", value: .unsigned(deleted))]),
                text: "ended session \(session.id); \(deleted) keys went with it")
        }
    }
}
