import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes

struct BenchCacheLoad: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Stores kernels in a cluster, for the benchmarks that read them.",
        discussion: "Kernels that are there already stay, so that an interrupted run can be repeated.")

    @OptionGroup var kernels: BenchKernels

    @Option(help: "memory, durable or archived.")
    var mode = "memory"

    @Option(name: [.short, .long], help: "Stores under way at any time, spread over the endpoints.")
    var clients = 64

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard (1...4096).contains(clients) else { throw ValidationError("--clients takes 1 to 4096") }
        guard storeMode != nil else { throw ValidationError("--mode takes memory, durable or archived") }
    }

    private var storeMode: StoreMode? { StoreMode.allCases.first { $0.name == mode } }

    func run() async throws {
        let pinned = try PinnedClients(
            ClientSettings.load(cluster.config.path()), timeout: cluster.timeout.duration)
        defer { pinned.close() }
        var options = StoreOptions()
        options.mode = storeMode ?? .memory
        options.cost = .seconds(1)
        let start = MonotonicClock.nanoseconds()
        let tally = await withTaskGroup(of: CacheTally.self) { group in
            for worker in 0..<clients {
                let client = pinned.clients[worker % pinned.clients.count]
                group.addTask { [kernels, clients, options] in
                    var tally = CacheTally()
                    for number in stride(from: worker, to: kernels.names, by: clients) {
                        let begin = MonotonicClock.nanoseconds()
                        do throws(EsperError) {
                            _ = try await client.cache.store(
                                kernels.name(number), kernels.content(number), options: options)
                            tally.latency.record(nanoseconds: MonotonicClock.nanoseconds() - begin)
                            tally.found += 1
                        } catch { tally.failed(error) }
                        if number % 10_000 == 9_999 { Terminal.progress("\(number + 1) of \(kernels.names)") }
                    }
                    return tally
                }
            }
            var sum = CacheTally()
            for await tally in group { sum.merge(tally) }
            return sum
        }
        let seconds = Double(MonotonicClock.nanoseconds() - start) / 1e9
        cluster.output.print(
            .fields([
                "kind": "cache-load", "names": .int(kernels.names), "value_bytes": .int(kernels.valueBytes),
                "mode": .string(mode), "clients": .int(clients), "seconds": .rounded(seconds),
                "rate_per_second": .rounded(Double(tally.found) / seconds), "stored": .unsigned(tally.found),
                "failed": .unsigned(tally.failed), "latency": tally.latency.json,
            ]),
            text: "\(tally.found) stored in \(Int(seconds)) s, \(Int(Double(tally.found) / seconds))/s, "
                + "\(tally.failed) failed; \(tally.latency.text)")
        if tally.failed > 0 {
            throw CommandFailure("\(tally.failed) stores failed: \(tally.failures); run it again for the rest")
        }
    }
}
