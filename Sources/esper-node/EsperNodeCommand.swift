import ArgumentParser
import EsperNode
import FoundationEssentials
import Glibc
import Logging
import Metrics
import Observability

@main
struct EsperNodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "esper-node",
        abstract: "One node of an Esper cluster.",
        discussion: """
            Settings come from the file, then the environment (ESPER_NODE_RAFT_HEARTBEAT covers raft.heartbeat), then \
            --set; later ones win. All mistakes are reported at once.

            SIGTERM or SIGINT: leave ready, hand leadership over, finish calls, sync, exit 0. A second one: at once. \
            A stop that hangs is ended by force a little after shutdown_timeout, with exit code 1.

            SIGHUP: read the certificates again; connections that stand keep theirs.

            Settings:
            \(SettingsReader.keys.map { "  \($0.name): \($0.help)" }.joined(separator: "\n"))
              members: a list of name, id, peer, api and zone (file only)
              audit_prefixes: a list of key prefixes whose writes are audited (file only)
            """,
        version: ClusterNode.version)

    @Option(help: "The settings file (YAML).")
    var config: String?

    @Option(help: ArgumentHelp("Set one setting, as in --set raft.heartbeat=50ms.", valueName: "key=value"))
    var set: [String] = []

    @Flag(
        help: """
            The first start of a node that never ran: make its data directory. Any other start refuses a directory \
            without data, because a node that forgets its votes can undo what the cluster acknowledged.
            """)
    var initialize = false

    @Flag(
        help: """
            Serve clients of Redis in plaintext beyond loopback too: whoever sees the traffic reads passwords and values. As \
            --set cache.redis_door.insecure=true.
            """)
    var insecureRedisDoor = false

    @Flag(help: "Check the settings and exit.")
    var check = false

    func validate() throws {
        for item in set where !item.contains("=") { throw ValidationError("--set \(item): write KEY=VALUE") }
    }

    func run() async throws {
        let settings = try readSettings()
        if check { return }
        let output = LogSettings(
            format: settings.log.format == .json ? .json : .text, level: settings.log.level)
        LoggingSystem.bootstrap { output.makeHandler(label: $0) }
        let registry = PrometheusRegistry()
        MetricsSystem.bootstrap(registry)
        let logger = Logger(label: "esper.node")
        logger.debug("starting", metadata: ["allocator": "jemalloc \(Allocator.version)"])
        if let failure = Allocator.useHugePages() {
            logger.warning("a large heap will be slow: it gets no huge pages", metadata: ["mallctl": "\(failure)"])
        }
        let signals = NodeSignals(stopLimit: settings.shutdownTimeout + StopWatchdog.grace)
        do {
            let node = try await ClusterNode.start(
                settings, initializes: initialize, registry: registry, logger: logger)
            // Cancelled when the node stops; nobody needs to know how the last reload ended.
            let reloading = Task { for await _ in signals.hangups { await node.reloadCertificates() } }
            await signals.stop()
            reloading.cancel()
            await node.stop()
        } catch let error as StartError {
            fail([error.message], code: 1)
        }
        LogSink.standardError.flush()
    }

    private func readSettings() throws -> NodeSettings {
        var file: (name: String, text: String)?
        if let config {
            guard let bytes = FileManager.default.contents(atPath: config),
                let text = String(validating: bytes, as: UTF8.self)
            else { fail(["\(config): cannot be read; give the path of a settings file"], code: 2) }
            file = (config, text)
        }
        var overrides = set.map { item in
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (key: String(parts[0]), value: String(parts[1]))
        }
        if insecureRedisDoor { overrides.append((key: "cache.redis_door.insecure", value: "true")) }
        do {
            return try SettingsReader.read(
                file: file, environment: ProcessInfo.processInfo.environment, overrides: overrides)
        } catch {
            fail(error.problems.map(\.description), code: 2)
        }
    }

    private func fail(_ lines: [String], code: Int32) -> Never {
        LogSink.standardError.flush()
        let text = lines.map { "esper-node: \($0)\n" }.joined()
        _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
        Glibc.exit(code)
    }
}
