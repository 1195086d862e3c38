import ArgumentParser
import Glibc

struct DevDown: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Stop the cluster on this host; what it stored stays.")

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        guard DevelopmentCluster.exists(in: development.path) else {
            output.print(.fields(["stopped": .array([]), "killed": .array([])]), text: "nothing runs here")
            return
        }
        let cluster = try development.cluster()
        let nodes = cluster.nodes.compactMap { node in cluster.process(of: node).map { (name: node.name, record: $0) } }
            .filter(\.record.isRunning)
        var killed = try await DevelopmentCluster.stop(nodes, with: SIGTERM, within: 10)
        var stopped = nodes.map(\.name)
        // SIGINT is PostgreSQL's fast shutdown: it does not wait for its clients.
        for (name, signal) in [("postgres", SIGINT), ("redis", SIGTERM)] {
            let service = DevelopmentService(name: name, directory: "\(cluster.directory)/\(name)")
            guard let record = service.process, record.isRunning else { continue }
            killed += try await DevelopmentCluster.stop([(name, record)], with: signal, within: 10)
            stopped.append(name)
        }
        output.print(
            .fields([
                "stopped": .array(stopped.map { .string($0) }), "killed": .array(killed.map { .string($0) }),
            ]),
            text: (stopped.isEmpty ? "nothing was running" : "stopped: \(stopped.joined(separator: ", "))")
                + (killed.isEmpty ? "" : " (had to be killed: \(killed.joined(separator: ", ")))"))
    }
}
