import ArgumentParser
import EsperClient

struct ElectionObserve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "observe", abstract: "Print the leader, then every change.")

    @Argument(help: "The election's name.")
    var name: String

    @Option(help: "End after this many lines.")
    var limit: Int?

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        var printed = 0
        try await cluster.withClient { client in
            for try await (revision, leadership) in client.observe(name) {
                cluster.output.print(
                    .object(
                        [
                            .init(name: "name", value: .string(name)),
                            .init(name: "led", value: .bool(leadership != nil)),
                            .init(name: "revision", value: .unsigned(revision)),
                        ] + (leadership?.fields.filter { $0.name != "name" } ?? [])),
                    text: leadership.map(\.text) ?? "nobody leads \(name)")
                printed += 1
                if printed == limit { return }
            }
        }
    }
}

struct ElectionLeader: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leader", abstract: "Print the leader; exit code 1 when nobody leads.")

    @Argument(help: "The election's name.")
    var name: String

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            guard let leadership = try await client.leader(of: name) else {
                if cluster.output.isJSON {
                    Terminal.line(JSON.fields(["name": .string(name), "led": false]).text)
                }
                throw CommandFailure(.failed, "nobody leads \(name)", reason: "not_found")
            }
            cluster.output.print(
                .object([.init(name: "led", value: true)] + leadership.fields), text: leadership.text)
        }
    }
}

struct ElectionResign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resign", abstract: "Give leadership up, or stop being a candidate.")

    @Argument(help: "The election's name.")
    var name: String

    @Option(help: "The session that leads or waits.", transform: SessionArgument.read)
    var session: SessionArgument

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let (commit, resigned) = try await client.resignAnswer(name, session: session.id)
            cluster.output.print(
                .object(
                    commit.fields + [
                        .init(name: "name", value: .string(name)), .init(name: "resigned", value: .bool(resigned)),
                    ]),
                text: resigned ? "resigned from \(name)" : "no candidate for \(name) any more")
        }
    }
}
