import ArgumentParser
import EsperClient

struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "The cluster itself.",
        subcommands: [
            ClusterStatusCommand.self, ClusterAdd.self, ClusterPromote.self, ClusterDemote.self, ClusterRemove.self,
            ClusterReplace.self, ClusterTransfer.self, ClusterDrain.self, ClusterToken.self, ClusterWatch.self,
        ])
}

struct ClusterStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Members, roles and progress, as the first node that answers sees them.")

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let status = try await client.status()
            cluster.output.print(status.json, text: status.text)
        }
    }
}

struct ClusterTransfer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transfer", abstract: "Hand leadership to another member, without an outage.")

    @Argument(help: "The member that shall lead; none: whichever is most up to date.")
    var target: String?

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let (leader, term) = try await client.transferLeadership(to: target)
            cluster.output.print(
                .fields(["leader": .string(leader), "term": .unsigned(term)]), text: "\(leader) leads in term \(term)")
        }
    }
}

struct ClusterWatch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Print the status whenever leader, term, roles or reachability change.")

    @Option(help: "How often to ask.", transform: WrittenDuration.read)
    var interval = WrittenDuration(.milliseconds(250))

    @Option(help: "End after this many lines.")
    var limit: Int?

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            var last: [String] = []
            var printed = 0
            while !Task.isCancelled {
                let lines: [String]
                let status: ClusterView?
                do {
                    let answer = try await client.status()
                    (status, lines) = (answer, answer.essence)
                } catch let error as EsperError {
                    (status, lines) = (nil, [error.message])
                }
                if lines != last {
                    cluster.output.print(
                        status?.json ?? .fields(["error": .string(lines.joined())]),
                        text: status.map { $0.text + "\n" } ?? lines.joined())
                    last = lines
                    printed += 1
                    if printed == limit { return }
                }
                try await Task.sleep(for: interval.duration)
            }
        }
    }
}
