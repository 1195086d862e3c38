import ArgumentParser
import EsperClient
import EsperTypes
import Glibc
import NIOCore
import NIOPosix

struct BenchFailover: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "failover", abstract: "How long no put succeeds when the leader is lost.",
        discussion: """
            For a cluster on this host. A put begins every period; each asks one endpoint after another, starting with a \
            different one. The window is from the fault to the first success of a put that began after it. With --stock \
            one client of the library, with all endpoints and a limit of a second, does all puts.

            A killed process keeps its connections open until the kernel has released its memory, 60 to 120 ms for \
            each GiB. How long that took is said beside the window, which contains it.
            """)

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    @Flag(help: "End the leader with SIGKILL (the default).")
    var kill = false

    @Flag(help: "Stop the leader with SIGSTOP instead, as a machine that hangs does.")
    var pause = false

    @Flag(help: "One client of the library instead of single attempts per endpoint.")
    var stock = false

    @Option(name: [.customLong("repeat")], help: "How many times.")
    var repeats = 20

    @Option(help: "Time between puts.", transform: WrittenDuration.read)
    var period = WrittenDuration(.milliseconds(2))

    @Option(help: "Limit of one attempt.", transform: WrittenDuration.read)
    var attempt = WrittenDuration(.milliseconds(500))

    func validate() throws {
        if kill, pause { throw ValidationError("give --kill or --pause") }
        guard repeats > 0 else { throw ValidationError("--repeat takes a number above zero") }
    }

    func run() async throws {
        let cluster = try development.cluster()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var findings: [FailoverProbe.Finding] = []
        for number in 1...repeats {
            _ = try await cluster.waitUntilReady(for: WrittenDuration(.seconds(60)))
            // The node that was started last may still read its log, and would not be asked for a put in earnest.
            for node in cluster.nodes { try await cluster.waitUntilServing(node) }
            try await Task.sleep(for: .seconds(1))
            let finding = try await probe(cluster, group.next())
            findings.append(finding)
            let window = finding.window.map { Self.milliseconds($0) } ?? .nan
            let ending =
                finding.ending.map { ", of which \(Self.milliseconds($0)) ms until its connections closed" } ?? ""
            Terminal.progress("\(number)/\(repeats): \(window) ms\(ending)")
        }
        _ = try await cluster.waitUntilReady(for: WrittenDuration(.seconds(60)))
        try await group.shutdownGracefully()
        report(findings)
    }

    private func probe(_ cluster: DevelopmentCluster, _ eventLoop: any EventLoop) async throws -> FailoverProbe.Finding
    {
        guard let leader = await cluster.leader(), let process = cluster.process(of: leader) else {
            throw CommandFailure("no node leads")
        }
        let clients = try await clients(cluster, eventLoop)
        defer { for client in clients { client.close() } }
        let probe = FailoverProbe(clients, on: eventLoop)
        probe.begin(period: .nanoseconds(period.duration.nanoseconds))
        try await Task.sleep(for: .milliseconds(1500))
        let witness = try await ClientBootstrap(group: eventLoop).connect(host: "127.0.0.1", port: leader.apiPort).get()
        witness.closeFuture.whenSuccess { probe.connectionsClosed() }
        process.signal(pause ? SIGSTOP : SIGKILL)
        probe.faulted()
        let limit = MonotonicClock.nanoseconds() + 20_000_000_000
        while try await !probe.hasRecovered.get(), MonotonicClock.nanoseconds() < limit {
            try await Task.sleep(for: .milliseconds(20))
        }
        try await Task.sleep(for: .seconds(1))
        let finding = try await probe.stop().get()
        if pause { process.signal(SIGCONT) } else { try cluster.start(leader) }
        return finding
    }

    /// Clients that are connected and known to the cluster, so that the fault meets a running load.
    private func clients(_ cluster: DevelopmentCluster, _ eventLoop: any EventLoop) async throws -> [EsperClient] {
        let settings = try ClientSettings.load(cluster.clientPath)
        var options = Connecting.options(timeout: stock ? .seconds(1) : attempt.duration)
        options.attemptTimeout = attempt.duration
        if !stock {
            options.maximumAttempts = 1
            // Each client stands for its endpoint: none may go to the leader that is about to be lost.
            options.followsLeader = false
        }
        let lists = stock ? [settings.endpoints] : settings.endpoints.map { [$0] }
        var clients: [EsperClient] = []
        for endpoints in lists {
            var own = settings
            own.endpoints = endpoints
            let client = try EsperClient(own, options: options, eventLoop: eventLoop)
            try await client.put(Bytes.of("failover/ready"), [])
            clients.append(client)
        }
        return clients
    }

    private func report(_ findings: [FailoverProbe.Finding]) {
        let windows = findings.compactMap(\.window).map(Self.milliseconds).sorted()
        let endings = findings.compactMap(\.ending).map(Self.milliseconds).sorted()
        let gaps = findings.map { Self.milliseconds($0.longestGap) }.sorted()
        let lost = findings.count - windows.count
        output.print(
            .fields([
                "kind": "failover", "fault": pause ? "pause" : "kill", "stock": .bool(stock),
                "repeats": .int(findings.count), "period_ms": .rounded(period.seconds * 1000),
                "never_recovered": .int(lost),
                "window_ms": Self.summary(windows), "ending_ms": Self.summary(endings),
                "longest_gap_ms": Self.summary(gaps),
                "runs": .array(
                    findings.map { finding in
                        .fields([
                            "window_ms": .optional(finding.window) { .rounded(Self.milliseconds($0)) },
                            "ending_ms": .optional(finding.ending) { .rounded(Self.milliseconds($0)) },
                            "longest_gap_ms": .rounded(Self.milliseconds(finding.longestGap)),
                            "puts": .int(finding.puts), "failed": .int(finding.failed),
                        ])
                    }),
            ]),
            text: """
                leader \(pause ? "paused" : "killed") \(findings.count) times, a put every \(period)
                no put succeeded for: \(Self.text(windows))
                of which until the connections of the killed process closed: \(Self.text(endings))
                \(lost > 0 ? "never recovered: \(lost)" : "failed puts: \(findings.map(\.failed).reduce(0, +))")
                """)
    }

    private static func milliseconds(_ duration: Duration) -> Double { Double(duration.nanoseconds / 1000) / 1000 }

    private static func summary(_ sorted: [Double]) -> JSON {
        guard let first = sorted.first, let last = sorted.last else { return .null }
        return .fields([
            "min": .rounded(first), "median": .rounded(quantile(0.5, of: sorted)),
            "p99": .rounded(quantile(0.99, of: sorted)), "max": .rounded(last),
        ])
    }

    private static func text(_ sorted: [Double]) -> String {
        guard let first = sorted.first, let last = sorted.last else { return "-" }
        return
            "min \(first) ms, median \(quantile(0.5, of: sorted)) ms, p99 \(quantile(0.99, of: sorted)) ms, max \(last) ms"
    }

    /// The smallest value that at least this share does not exceed.
    private static func quantile(_ share: Double, of sorted: [Double]) -> Double {
        sorted[max(0, Int((Double(sorted.count) * share).rounded(.up)) - 1)]
    }
}
