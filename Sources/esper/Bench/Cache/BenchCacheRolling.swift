import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes
import Glibc

struct BenchCacheRolling: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rolling", abstract: "Restarts every node, one after the other, under reads.",
        discussion: """
            For a cluster on this host. Each node is asked to end (SIGTERM: it drains), started again and waited for. Readers \
            may ask any node, as the client library does. Told are failed reads, and by how much the part of reads \
            that found something fell short of the time before, in the worst second.
            """)

    @OptionGroup var kernels: BenchKernels
    @OptionGroup var readers: CacheReaderOptions

    @Option(help: "How long to read before and after.", transform: WrittenDuration.read)
    var calm = WrittenDuration(.seconds(10))

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let cluster = try development.cluster()
        var options = Connecting.options(timeout: .seconds(10))
        options.followsLeader = false
        let client = try EsperClient(ClientSettings.load(cluster.clientPath), options: options)
        defer { client.close() }
        let load = CacheReaders(kernels, exponent: readers.exponent, over: [client], window: .seconds(1))
        async let reading: Void = load.run(readers.readers)
        try await Task.sleep(for: calm.duration)
        let before = Self.sum(load.finished)
        let firstWindow = load.finished.count
        let begin = load.elapsed
        for node in cluster.nodes {
            Terminal.progress("restarting \(node.name)")
            guard let process = cluster.process(of: node) else { throw CommandFailure("\(node.name) does not run") }
            let killed = try await DevelopmentCluster.stop([(node.name, process)], with: SIGTERM, within: 60)
            guard killed.isEmpty else { throw CommandFailure("\(node.name) did not end within a minute") }
            try cluster.start(node)
            try await cluster.waitUntilServing(node)
            _ = try await cluster.waitUntilReady(for: WrittenDuration(.seconds(60)))
        }
        let seconds = load.elapsed - begin
        try await Task.sleep(for: calm.duration)
        load.stop()
        await reading
        let during = load.finished.dropFirst(firstWindow)
        let sum = Self.sum(during)
        let dip = during.filter { $0.count > 0 }.map { Self.ratio(before) - Self.ratio($0) }.max() ?? 0
        output.print(
            .fields([
                "kind": "cache-rolling", "names": .int(kernels.names), "readers": .int(readers.readers),
                "exponent": .rounded(readers.exponent), "restarts": .int(cluster.nodes.count),
                "seconds": .rounded(seconds), "before": before.json, "during": sum.json,
                "found_percent_before": .rounded(Self.ratio(before) * 100),
                "worst_second_points_below": .rounded(max(0, dip) * 100),
            ]),
            text: """
                \(cluster.nodes.count) restarts in \(Int(seconds)) s
                  before: \(before.text)
                  during: \(sum.text)
                  found in the worst second: \(CacheModelReport.percent(max(0, dip))) points below the time before
                """)
    }

    private static func sum(_ windows: some Sequence<CacheTally>) -> CacheTally {
        var sum = CacheTally()
        for window in windows { sum.merge(window) }
        return sum
    }

    private static func ratio(_ tally: CacheTally) -> Double { Double(tally.found) / Double(max(1, tally.count)) }
}
