import ArgumentParser
import Foundation

struct DevUp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up", abstract: "Start a cluster on this host, or whatever of it is down.",
        discussion: """
            The first call makes certificates, settings, an archive, a PostgreSQL and a Redis of its own under the directory. As root, \
            those two run under an unprivileged account (postgres, else nobody); where that account cannot enter the \
            directory, their files live under /var/tmp and the directory holds links. Repeating it is harmless.
            """)

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    @Option(help: "How many nodes a new cluster has (default: 3).")
    var nodes: Int?

    @Option(help: "The first of ten ports per node of a new cluster (default: 7400).")
    var basePort: Int?

    @Flag(inversion: .prefixedNo, help: "Give a new cluster a PostgreSQL for its catalog.")
    var catalog = true

    @Option(help: "How long to wait until every node is ready.", transform: WrittenDuration.read)
    var wait = WrittenDuration(.seconds(60))

    func validate() throws {
        if let nodes, !(1...DevelopmentCluster.maximumNodes).contains(nodes) {
            throw ValidationError("--nodes takes 1 to \(DevelopmentCluster.maximumNodes)")
        }
        if let basePort, !(1024...65_000).contains(basePort) {
            throw ValidationError("--base-port takes 1024 to 65000")
        }
    }

    func run() async throws {
        let cluster = try prepare()
        var catalogURL: String?
        if cluster.usesCatalog {
            let postgres = try DevelopmentPostgreSQL(cluster: cluster)
            try await postgres.up()
            catalogURL = try postgres.connectionString()
        }
        var redisURL: String?
        if let redis = DevelopmentRedis(cluster: cluster) {
            try await redis.up()
            redisURL = try redis.url()
        } else {
            Terminal.progress("redis-server is not installed; going on without it")
        }
        for node in cluster.nodes {
            try cluster.writeSettings(of: node, catalogURL: catalogURL, redisURL: redisURL)
            switch cluster.state(of: node) {
            case .down: try cluster.start(node)
            case .paused: cluster.process(of: node)?.signal(SIGCONT)
            case .running: break
            }
        }
        defer {
            // Also when they are not ready: whoever has made its data directory must never do so again.
            for node in cluster.nodes { cluster.recordInitialization(of: node) }
        }
        let status = try await cluster.waitUntilReady(for: wait)
        output.print(status.json, text: status.text + "\n\n" + hints(cluster))
    }

    /// Loads the cluster of the directory, or draws a new one and writes what its processes read.
    private func prepare() throws -> DevelopmentCluster {
        let directory = development.path
        var cluster: DevelopmentCluster
        if DevelopmentCluster.exists(in: directory) {
            cluster = try DevelopmentCluster(loading: directory)
            if let nodes, nodes != cluster.nodes.count {
                throw CommandFailure("\(directory) has \(cluster.nodes.count) nodes; --nodes is for a new cluster")
            }
            if let basePort, basePort != cluster.basePort {
                throw CommandFailure("\(directory) has base port \(cluster.basePort); --base-port is for a new cluster")
            }
            try PortCheck(cluster).run(isNew: false, directory: directory)
        } else {
            cluster = DevelopmentCluster(
                directory: directory, nodes: nodes ?? 3, basePort: basePort ?? 7400, usesCatalog: catalog)
            // Before anything is written: what stands in the directory cannot be moved to other ports.
            try PortCheck(cluster).run(isNew: true, directory: directory)
            try Files.createDirectory(directory, mode: 0o755)
            try cluster.save()
        }
        try cluster.prepareCertificates()
        try cluster.writeClientSettings()
        return cluster
    }

    private func hints(_ cluster: DevelopmentCluster) -> String {
        let program = CommandLine.arguments[0]
        let isDefault = ConfigOption.defaultPath() == cluster.clientPath
        return (isDefault ? "Try:\n" : "Try:\n    export ESPER_CONFIG=\(cluster.clientPath)\n") + """
                \(program) kv put greeting hello && \(program) kv get greeting
                \(program) lock acquire train-42 --ttl 15s -- sh -c 'echo token $ESPER_FENCING_TOKEN'
                \(program) dev kill leader --dir \(cluster.directory) && \(program) cluster status
            """
    }
}
