import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes
import Glibc

struct BenchCacheRestart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart",
        abstract: "How soon a restarted node finds kernels again, and in its own memory as often as before.",
        discussion: """
            For a cluster on this host. One node is read from, killed and started; the times are from its start to the \
            first kernel found through it, and until its own memory answers nine tenths as often as before.
            """)

    @Argument(help: "A node's name or 'leader'.")
    var target: String

    @OptionGroup var kernels: BenchKernels
    @OptionGroup var readers: CacheReaderOptions

    @Option(help: "How long to read before the restart.", transform: WrittenDuration.read)
    var before = WrittenDuration(.seconds(20))

    @Option(help: "How long to wait for the former hits at most.", transform: WrittenDuration.read)
    var limit = WrittenDuration(.seconds(120))

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let cluster = try development.cluster()
        let node = try await cluster.node(of: target)
        try await cluster.withClient(of: node, timeout: .seconds(2)) { client in
            let load = CacheReaders(kernels, exponent: readers.exponent, over: [client], window: .milliseconds(500))
            async let reading: Void = load.run(readers.readers)
            try await Task.sleep(for: before.duration)
            let former = try await Self.memoryShare(client, over: .seconds(2)) ?? 0
            guard let process = cluster.process(of: node) else { throw CommandFailure("\(node.name) does not run") }
            process.signal(SIGKILL)
            while cluster.state(of: node) != .down { try await Task.sleep(for: .milliseconds(5)) }
            let start = MonotonicClock.nanoseconds()
            try cluster.start(node)
            let first = try await firstHit(client, since: start)
            let (recovered, share) = try await recovery(client, to: former * 0.9, since: start)
            load.stop()
            await reading
            output.print(
                .fields([
                    "kind": "cache-restart", "names": .int(kernels.names), "readers": .int(readers.readers),
                    "exponent": .rounded(readers.exponent), "memory_hit_percent_before": .rounded(former * 100),
                    "first_hit_ms": .rounded(first), "recovered_ms": .optional(recovered) { .rounded($0) },
                    "memory_hit_percent_after": .rounded(share * 100),
                ]),
                text: "\(node.name): first kernel found after \(first) ms; own memory had "
                    + "\(CacheModelReport.percent(former)) % of what was found, "
                    + (recovered.map { "nine tenths of that after \($0) ms" }
                        ?? "not nine tenths of that within \(limit)")
                    + " (\(CacheModelReport.percent(share)) % at the end)")
        }
    }

    private func firstHit(_ client: EsperClient, since start: UInt64) async throws -> Double {
        let end = start + UInt64(limit.duration.nanoseconds)
        while MonotonicClock.nanoseconds() < end {
            if let value = try? await client.cache.value(of: kernels.name(0)), !value.isEmpty {
                return Self.milliseconds(since: start)
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw CommandFailure(.timedOut, "nothing was found within \(limit)")
    }

    private func recovery(
        _ client: EsperClient, to share: Double, since start: UInt64
    ) async throws -> (milliseconds: Double?, share: Double) {
        let end = start + UInt64(limit.duration.nanoseconds)
        var last = 0.0
        while MonotonicClock.nanoseconds() < end {
            last = try await Self.memoryShare(client, over: .milliseconds(500)) ?? 0
            if last >= share { return (Self.milliseconds(since: start), last) }
        }
        return (nil, last)
    }

    /// What part of all that a node found within a time its own memory had; nil when it found nothing.
    private static func memoryShare(_ client: EsperClient, over time: Duration) async throws -> Double? {
        guard let first = try? await client.cache.stat() else {
            try await Task.sleep(for: .milliseconds(20))
            return nil
        }
        try await Task.sleep(for: time)
        guard let second = try? await client.cache.stat() else { return nil }
        func counts(_ stat: CacheStat) -> [CacheTier: UInt64] {
            Dictionary(stat.hits.map { ($0.tier, $0.count) }, uniquingKeysWith: +)
        }
        let hits = counts(second).since(counts(first))
        let sum = hits.values.reduce(0, +)
        return sum == 0 ? nil : Double(hits[.memory, default: 0]) / Double(sum)
    }

    private static func milliseconds(since start: UInt64) -> Double {
        Double((MonotonicClock.nanoseconds() - start) / 1000) / 1000
    }
}
