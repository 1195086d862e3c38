import ArgumentParser
import Glibc

/// Which nodes a fault is for: a name, `leader` or `all`.
struct TargetOptions: ParsableArguments {
    @Argument(help: "A node's name, 'leader' or 'all'.")
    var target: String

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func nodes(of cluster: DevelopmentCluster) async throws -> [DevelopmentCluster.Node] {
        target == "all" ? cluster.nodes : [try await cluster.node(of: target)]
    }

    /// Sends a signal to every target and says which processes got it.
    func signal(_ number: CInt, done: String) async throws {
        let cluster = try development.cluster()
        let nodes = try await nodes(of: cluster)
        let reached = nodes.filter { cluster.process(of: $0)?.signal(number) ?? false }
        guard !reached.isEmpty else {
            throw CommandFailure("\(nodes.map(\.name).joined(separator: ", ")) does not run; 'esper dev up' starts it")
        }
        output.print(
            .fields(["action": .string(done), "nodes": .array(reached.map { .string($0.name) })]),
            text: "\(done): \(reached.map(\.name).joined(separator: ", "))")
    }
}

struct DevKill: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kill", abstract: "End nodes without warning (SIGKILL); 'dev up' starts them again.")

    @OptionGroup var targets: TargetOptions

    func run() async throws { try await targets.signal(SIGKILL, done: "killed") }
}

struct DevPause: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Stop nodes in their tracks (SIGSTOP), as a machine that hangs does.")

    @OptionGroup var targets: TargetOptions

    func run() async throws { try await targets.signal(SIGSTOP, done: "paused") }
}

struct DevResume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let paused nodes go on (SIGCONT).")

    @Argument(help: "A node's name or 'all'.")
    var target = "all"

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let cluster = try development.cluster()
        let nodes = target == "all" ? cluster.nodes : [try cluster.node(named: target)]
        let resumed = nodes.filter { cluster.state(of: $0) == .paused }
        for node in resumed { cluster.process(of: node)?.signal(SIGCONT) }
        output.print(
            .fields(["action": "resumed", "nodes": .array(resumed.map { .string($0.name) })]),
            text: resumed.isEmpty ? "nothing was paused" : "resumed: \(resumed.map(\.name).joined(separator: ", "))")
    }
}
