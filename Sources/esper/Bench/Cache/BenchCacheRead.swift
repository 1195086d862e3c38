import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes

struct BenchCacheRead: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read", abstract: "Retrieves kernels that 'load' has stored, by Zipf's distribution.")

    @OptionGroup var kernels: BenchKernels
    @OptionGroup var readers: CacheReaderOptions

    @Option(name: [.short, .long], help: "Measured time.", transform: WrittenDuration.read)
    var duration = WrittenDuration(.seconds(10))

    @Option(
        name: [.customLong("warm-up")], help: "Time before that, which is not counted.", transform: WrittenDuration.read
    )
    var warmUp = WrittenDuration(.seconds(2))

    @Option(help: "Reads a second, of all readers together; without it, as many as there can be.")
    var rate: Int?

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard rate.map({ (1...1_000_000).contains($0) }) ?? true else {
            throw ValidationError("--rate takes 1 to 1000000")
        }
    }

    func run() async throws {
        let pinned = try PinnedClients(
            ClientSettings.load(cluster.config.path()), timeout: cluster.timeout.duration)
        defer { pinned.close() }
        let load = CacheReaders(
            kernels, exponent: readers.exponent, over: pinned.clients, window: .milliseconds(100),
            interval: rate.map { UInt64(readers.readers) * 1_000_000_000 / UInt64($0) })
        async let reading: Void = load.run(readers.readers)
        try await Task.sleep(for: warmUp.duration)
        let first = load.finished.count
        let before = await pinned.hits()
        try await Task.sleep(for: duration.duration)
        let windows = load.finished.dropFirst(first)
        let hits = await pinned.hits().since(before)
        load.stop()
        await reading
        var tally = CacheTally()
        for window in windows { tally.merge(window) }
        let perSecond = Double(tally.count) / (Double(windows.count) * 0.1)
        cluster.output.print(
            .fields([
                "kind": "cache-read", "names": .int(kernels.names), "value_bytes": .int(kernels.valueBytes),
                "exponent": .rounded(readers.exponent), "readers": .int(readers.readers),
                "seconds": .rounded(Double(windows.count) * 0.1), "rate": .optional(rate) { .int($0) },
                "rate_per_second": .rounded(perSecond),
                "reads": tally.json, "hits": hits.json,
            ]),
            text:
                "\(Int(perSecond)) reads/s by \(readers.readers) readers: \(tally.text)\n  found by the nodes in: \(hits.text)"
        )
    }
}

/// Who reads, and what.
struct CacheReaderOptions: ParsableArguments {
    @Option(name: [.short, .long], help: "Readers, each with one read under way, spread over the endpoints.")
    var readers = 16

    @Option(help: "Exponent of the distribution of names; 0: all alike.")
    var exponent = 1.0

    func validate() throws {
        guard (1...4096).contains(readers) else { throw ValidationError("--readers takes 1 to 4096") }
        guard (0...3).contains(exponent) else { throw ValidationError("--exponent takes 0 to 3") }
    }
}
