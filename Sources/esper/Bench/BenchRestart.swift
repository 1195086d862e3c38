import ArgumentParser
import EsperClient
import EsperTypes
import Glibc

struct BenchRestart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart", abstract: "How long a node that was killed takes until it serves again.",
        discussion: """
            For a cluster on this host. The node is ended with SIGKILL and started; the time is from its start to its \
            answer to a linearizable get, which it can give only when it has read its log and caught up. With 'all' \
            every node is ended at once, as power does it, and the time is until each has answered.
            """)

    @Argument(help: "A node's name, 'leader' or 'all'.")
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
            let nodes = target == "all" ? cluster.nodes : [try await cluster.node(of: target)]
            let milliseconds = try await restart(nodes, of: cluster)
            durations.append(milliseconds)
            let names = nodes.map(\.name).joined(separator: ", ")
            Terminal.progress("\(number)/\(repeats): \(names) after \(milliseconds) ms")
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

    /// - Returns: milliseconds from the first start to the last answer.
    private func restart(
        _ nodes: [DevelopmentCluster.Node], of cluster: DevelopmentCluster
    ) async throws -> Double {
        for node in nodes {
            guard let process = cluster.process(of: node) else { throw CommandFailure("\(node.name) does not run") }
            process.signal(SIGKILL)
        }
        for node in nodes {
            let limit = MonotonicClock.nanoseconds() + 30_000_000_000
            while cluster.state(of: node) != .down {
                guard MonotonicClock.nanoseconds() < limit else {
                    throw CommandFailure(.timedOut, "\(node.name) was killed half a minute ago and has not ended")
                }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        let start = MonotonicClock.nanoseconds()
        for node in nodes { try cluster.start(node) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in nodes { group.addTask { try await cluster.waitUntilServing(node) } }
            try await group.waitForAll()
        }
        return Double((MonotonicClock.nanoseconds() - start) / 1000) / 1000
    }
}
