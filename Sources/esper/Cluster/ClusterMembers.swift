import ArgumentParser
import EsperClient
import EsperTypes

struct ClusterAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Take a new node in, without a vote yet.",
        discussion: """
            Prints the id that the node's settings must have. Start it with `join: true` in its own line of `members` and \
            with --initialize; when it has caught up, give it a vote with `esper cluster promote`.
            """)

    @Argument(help: "Its name, as in its certificate.")
    var name: String

    @Option(help: "HOST:PORT where its peers reach it.", transform: WrittenAddress.read)
    var peer: WrittenAddress

    @Option(help: "HOST:PORT where clients reach it.", transform: WrittenAddress.read)
    var api: WrittenAddress

    @Option(help: "Its failure domain.")
    var zone = ""

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let change = try await client.addMember(name, peer: peer.address, api: api.address, zone: zone)
            cluster.output.print(change.json, text: "\(name) is a learner with the id \(change.ids.joined())")
        }
    }
}

struct ClusterPromote: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Give learners a vote: those that have caught up and answer.")

    @Argument(help: "Learners; all of them or none are changed.")
    var names: [String]

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let change = try await client.promoteMembers(names)
            cluster.output.print(change.json, text: "\(names.joined(separator: ", ")): voter")
        }
    }
}

struct ClusterDemote: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demote", abstract: "Take voters' votes; they go on getting the log.")

    @Argument(help: "Voters; all of them or none are changed.")
    var names: [String]

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let change = try await client.demoteMembers(names)
            cluster.output.print(change.json, text: "\(names.joined(separator: ", ")): learner")
        }
    }
}

struct ClusterRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take nodes out for good; a leader among them hands over first.",
        discussion: "An id is never used again: to come back, a node is added anew and begins with an empty directory.")

    @Argument(help: "Members; all of them or none are removed.")
    var names: [String]

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let change = try await client.removeMembers(names)
            cluster.output.print(change.json, text: "\(names.joined(separator: ", ")): removed")
        }
    }
}

struct ClusterReplace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replace", abstract: "Give voters' votes to learners and take the voters out, in one step.",
        usage: "esper cluster replace <old> <new> [<old> <new> ...] [--config <config>] [--output <output>]")

    @Argument(
        help: "A voter that leaves, which may be down, and the learner that takes its place; any number of pairs.")
    var names: [String]

    @OptionGroup var cluster: ClusterOptions

    private var replacements: [(old: String, new: String)] {
        stride(from: 0, to: names.count, by: 2).map { (names[$0], names[$0 + 1]) }
    }

    func validate() throws {
        guard names.count.isMultiple(of: 2) else {
            throw ValidationError("nobody is named to take the place of \(names[names.count - 1])")
        }
    }

    func run() async throws {
        try await cluster.changing { client in
            let change = try await client.replaceMembers(replacements)
            cluster.output.print(
                change.json,
                text: replacements.map { "\($0.new) votes in place of \($0.old), which is removed" }
                    .joined(separator: "\n"))
        }
    }
}

struct ClusterDrain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Keep a member from leading and from being ready, until undone or restarted.",
        discussion: """
            Its shards of the cache move to other members meanwhile. Before it is removed or switched off for good, \
            'esper cache rebalance status --wait' tells when they have.
            """)

    @Argument(help: "The member.")
    var name: String

    @Flag(help: "Let it lead and be ready again.")
    var undo = false

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            try await client.drain(name, undo: undo)
            cluster.output.print(
                .fields(["name": .string(name), "drained": .bool(!undo)]),
                text: undo
                    ? "\(name) may lead again"
                    : "\(name) is drained; 'esper cache rebalance status --wait' tells when its shards are elsewhere")
        }
    }
}

extension MembershipChange {
    var json: JSON {
        .fields([
            "outcome": .string(Outcome.committed.rawValue), "log_index": .unsigned(logIndex),
            "ids": .array(ids.map(JSON.string)),
        ])
    }
}
