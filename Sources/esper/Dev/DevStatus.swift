import ArgumentParser
import EsperClient
import EsperTypes

struct DevStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "The processes on this host, and what each node says.")

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let cluster = try development.cluster()
        var table = Table("node", "process", "pid", "memory mib", "says role", "leader", "term", "applied", "catalog")
        var nodes: [JSON] = []
        for (node, view) in await cluster.views() {
            let state = cluster.state(of: node)
            let process = state == .down ? nil : cluster.process(of: node)
            let memory = process?.residentBytes
            let own = view?.members.first { $0.name == node.name }
            table.add(
                node.name, state.rawValue, process.map { "\($0.pid)" } ?? "", memory.map { "\($0 >> 20)" } ?? "",
                own?.role ?? "", view?.leader ?? "", view.map { "\($0.term)" } ?? "",
                view.map { "\($0.appliedIndex)" } ?? "", view?.catalog ?? "")
            nodes.append(
                .fields([
                    "name": .string(node.name), "state": .string(state.rawValue),
                    "pid": .optional(process) { .integer(Int64($0.pid)) },
                    "resident_bytes": .optional(memory) { .unsigned($0) },
                    "log": .string(cluster.logPath(of: node)),
                    "peer": .string("127.0.0.1:\(node.peerPort)"), "api": .string("127.0.0.1:\(node.apiPort)"),
                    "status": .optional(view) { $0.json },
                ]))
        }
        let services = ["postgres", "redis"].map { name in
            DevelopmentService(name: name, directory: "\(cluster.directory)/\(name)")
        }
        let lines = services.map { "\($0.name) \($0.isRunning ? "running" : "down")" }
        output.print(
            .fields([
                "directory": .string(cluster.directory), "cluster_id": .string(cluster.clusterID.description),
                "nodes": .array(nodes),
                "services": .array(
                    services.map { .fields(["name": .string($0.name), "running": .bool($0.isRunning)]) }),
            ]),
            text: "\(cluster.directory)  cluster \(cluster.clusterID)\n\(table.text)\n\(lines.joined(separator: ", "))")
    }
}
