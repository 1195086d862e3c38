import ArgumentParser
import EsperClient
import EsperTypes
import Glibc

struct BenchRestart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart", abstract: "How long a node that was killed takes until it serves again.",
        discussion: """
            For a cluster on this host. The node is ended with SIGKILL and started; the time is from its start to its \
            answer to a linearizable get, which it can give only when it has read its log and caught up.
            """)

    @Argument(help: "A node's name, or 'leader'.")
    var target: String

    @Option(name: [.customLong("repeat")], help: "How many times.")
    var repeats = 5

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard repeats > 0 else { throw ValidationError("--repeat takes a number above zero") }
    }

    func run() async throws {
        let cluster = try development.cluster()
        var durations: [Double] = []
        var entries: UInt64 = 0
        for number in 1...repeats {
            entries = try await cluster.waitUntilReady(for: WrittenDuration(.seconds(60))).appliedIndex
            let node = try await cluster.node(of: target)
            let milliseconds = try await restart(node, of: cluster)
            durations.append(milliseconds)
            Terminal.progress("\(number)/\(repeats): \(node.name) after \(milliseconds) ms")
        }
        let sorted = durations.sorted()
        output.print(
            .fields([
                "kind": "restart", "repeats": .int(repeats), "applied_index": .unsigned(entries),
                "restart_ms": .array(durations.map { .rounded($0) }),
            ]),
            text: "restarted \(repeats) times with the log at index \(entries): min \(sorted[0]) ms, "
                + "median \(sorted[sorted.count / 2]) ms, max \(sorted[sorted.count - 1]) ms")
    }

    private func restart(_ node: DevelopmentCluster.Node, of cluster: DevelopmentCluster) async throws -> Double {
        guard let process = cluster.process(of: node) else { throw CommandFailure("\(node.name) does not run") }
        process.signal(SIGKILL)
        while cluster.state(of: node) != .down { try await Task.sleep(for: .milliseconds(5)) }
        let start = MonotonicClock.nanoseconds()
        try cluster.start(node)
        let limit = start + 120_000_000_000
        while MonotonicClock.nanoseconds() < limit {
            do {
                try await cluster.withClient(of: node, timeout: .milliseconds(500)) { client in
                    _ = try await client.get(Bytes.of("restart/ready"))
                }
                return Double((MonotonicClock.nanoseconds() - start) / 1000) / 1000
            } catch {
                guard cluster.state(of: node) != .down else {
                    throw CommandFailure("\(node.name) ended: \(cluster.lastWords(of: node))")
                }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        throw CommandFailure(
            .timedOut, "\(node.name) did not serve within two minutes; see \(cluster.logPath(of: node))")
    }
}
