import ArgumentParser
import EsperClient

struct DevPartition: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "partition", abstract: "Cut nodes off from their peers; their API ports go on answering.",
        discussion: "Each partition of a node replaces the one before it; 'esper dev heal' ends it.")

    @OptionGroup var targets: TargetOptions

    @Option(
        name: .customLong("from"), help: "Only from these peers: names, with commas between them.",
        transform: PeerList.read)
    var peers: PeerList?

    func run() async throws {
        let cluster = try targets.development.cluster()
        let names = peers?.names ?? []
        let chosen = try await targets.nodes(of: cluster)
        // 'all --from n2' is about all others; a single node cut from itself is a mistake that the node points out.
        let nodes = chosen.count > 1 ? chosen.filter { !names.contains($0.name) } : chosen
        let down = nodes.filter { cluster.state(of: $0) != .running }
        guard down.isEmpty else {
            throw CommandFailure(
                "\(down.map(\.name).joined(separator: ", ")) does not run; 'esper dev up' starts it, 'esper dev resume' wakes it"
            )
        }
        for node in nodes { try await cluster.withClient(of: node) { try await $0.isolate(from: names) } }
        targets.output.print(
            .fields([
                "action": "partitioned", "nodes": .array(nodes.map { .string($0.name) }),
                "peers": .array(names.map { .string($0) }),
            ]),
            text: "partitioned: \(nodes.map(\.name).joined(separator: ", "))"
                + (names.isEmpty ? "" : " from \(names.joined(separator: ", "))") + "; 'esper dev heal' ends it")
    }
}

/// `n2` or `n2,n3`.
package struct PeerList: Equatable, Sendable {
    package var names: [String]

    package static func read(_ text: String) throws -> Self {
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard names.allSatisfy({ !$0.isEmpty }) else {
            throw ValidationError("write names with commas between them and no blanks, such as n2,n3")
        }
        return Self(names: names)
    }
}

struct DevHeal: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "heal", abstract: "Let nodes talk to their peers again.")

    @Argument(help: "A node's name or 'all'.")
    var target = "all"

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let cluster = try development.cluster()
        let nodes = target == "all" ? cluster.nodes : [try cluster.node(named: target)]
        let awake = nodes.filter { cluster.state(of: $0) == .running }
        for node in awake { try await cluster.withClient(of: node) { try await $0.heal() } }
        output.print(
            .fields(["action": "healed", "nodes": .array(awake.map { .string($0.name) })]),
            text: "healed: \(awake.map(\.name).joined(separator: ", "))")
    }
}
