import ArgumentParser
import CacheCore
import EsperTypes
import Foundation
import KernelCache
import Synchronization

/// What a hit in the same process costs.
struct BenchCacheLocal: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "local",
        abstract: "Hits by name and by digest in this process, beside one dictionary under one lock.")

    @Option(help: "Names, each with a value.")
    var names = 100_000

    @Option(help: "Bytes of a value.")
    var valueBytes = 2048

    @Option(help: "Threads; each count is a run.")
    var threads: [Int] = [1, 2]

    @Option(help: "How long each run takes, in milliseconds.")
    var milliseconds = 2000

    @Option(help: "Exponent of the distribution of names; 0: all alike.")
    var exponent = 1.0

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard names > 0, valueBytes > 0, milliseconds > 0, threads.allSatisfy({ $0 > 0 }) else {
            throw ValidationError("all numbers are above zero")
        }
        guard valueBytes <= CacheLimits.blobBytes else { throw ValidationError("--value-bytes takes up to 1048576") }
    }

    /// Keeps what the threads need, made once.
    private struct Inputs: Sendable {
        var names: [[UInt8]]
        var digests: [Digest]
        /// Which name comes next, drawn before the clock runs.
        var order: [Int32]
    }

    func run() async throws {
        let inputs = makeInputs()
        let value = [UInt8](repeating: 7, count: valueBytes)
        let limit = UInt64(names) * UInt64(valueBytes + 512) * 3 + 1 << 30
        let tier = MemoryTier(.init(limitBytes: limit, seed: 42))
        let version = LogIndex(9)
        var plain: [[UInt8]: [UInt8]] = [:]
        for (position, name) in inputs.names.enumerated() {
            tier.put(value, of: name, version: version)
            tier.put(value, under: inputs.digests[position])
            plain[name] = value
        }
        let dictionary = PlainCache(plain)
        var table = Table("what", "threads", "M/s", "M/s per thread", "p50 ns", "p99 ns", "p99.9 ns")
        var rows: [JSON] = []
        for count in threads {
            let runs: [(String, @Sendable (Int) -> Bool)] = [
                ("by name and version", { tier.value(of: inputs.names[$0], version: version) != nil }),
                ("by digest", { tier.get(inputs.digests[$0]) != nil }),
                ("dictionary, one lock", { dictionary.get(inputs.names[$0]) != nil }),
            ]
            for (name, read) in runs {
                let result = try measure(threads: count, inputs.order, read)
                let rate = result.rate / 1e6
                table.add(
                    name, "\(count)", CacheModelReport.percent(rate / 100),
                    CacheModelReport.percent(rate / Double(count) / 100), "\(result.histogram.nanoseconds(at: 0.5))",
                    "\(result.histogram.nanoseconds(at: 0.99))", "\(result.histogram.nanoseconds(at: 0.999))")
                rows.append(
                    .fields([
                        "what": .string(name), "threads": .int(count), "rate_per_second": .rounded(result.rate),
                        "p50_ns": .unsigned(result.histogram.nanoseconds(at: 0.5)),
                        "p99_ns": .unsigned(result.histogram.nanoseconds(at: 0.99)),
                        "p999_ns": .unsigned(result.histogram.nanoseconds(at: 0.999)),
                    ]))
            }
        }
        output.print(
            .fields([
                "kind": "cache-local", "names": .int(names), "value_bytes": .int(valueBytes),
                "exponent": .rounded(exponent), "rows": .array(rows),
            ]), text: table.text)
    }

    /// One dictionary under one lock: the simplest cache that is right.
    private final class PlainCache: Sendable {
        private let values: Mutex<[[UInt8]: [UInt8]]>
        init(_ values: [[UInt8]: [UInt8]]) { self.values = Mutex(values) }
        func get(_ name: [UInt8]) -> [UInt8]? { values.withLock { $0[name] } }
    }

    private func makeInputs() -> Inputs {
        var generator = SplitMix64(seed: 1)
        let keys = ZipfKeys(count: names, exponent: exponent)
        return Inputs(
            names: (0..<names).map { Array("default/kernels/matmul-\($0)".utf8) },
            digests: (0..<names).map { _ in
                Digest(words: generator.next(), generator.next(), generator.next(), generator.next())
            },
            order: (0..<1 << 20).map { _ in Int32(keys.next(&generator) - 1) })
    }

    /// The rate is taken without a clock in the loop; latencies of one read of 64 in a second pass, clock included.
    private func measure(
        threads count: Int, _ order: [Int32], _ read: @escaping @Sendable (Int) -> Bool
    ) throws -> (rate: Double, histogram: Histogram) {
        let duration = UInt64(milliseconds) * 1_000_000
        let result = Mutex((reads: 0.0, histogram: Histogram(), missed: 0))
        let group = DispatchGroup()
        for number in 0..<count {
            group.enter()
            let thread = Thread {
                defer { group.leave() }
                var position = order.count / count * number
                var missed = 0
                var reads = 0
                let start = MonotonicClock.nanoseconds()
                var now = start
                while now - start < duration {
                    for _ in 0..<4096 {
                        if !read(Int(order[position])) { missed += 1 }
                        position = position + 1 == order.count ? 0 : position + 1
                    }
                    reads += 4096
                    now = MonotonicClock.nanoseconds()
                }
                let rate = Double(reads) / Double(now - start) * 1e9
                var histogram = Histogram()
                let end = now + duration / 4
                while now < end {
                    for _ in 0..<63 {
                        if !read(Int(order[position])) { missed += 1 }
                        position = position + 1 == order.count ? 0 : position + 1
                    }
                    let before = MonotonicClock.nanoseconds()
                    if !read(Int(order[position])) { missed += 1 }
                    now = MonotonicClock.nanoseconds()
                    histogram.record(nanoseconds: now - before)
                }
                let found = (rate, histogram, missed)
                result.withLock {
                    $0.reads += found.0
                    $0.histogram.merge(found.1)
                    $0.missed += found.2
                }
            }
            thread.start()
        }
        group.wait()
        let (rate, histogram, missed) = result.withLock { ($0.reads, $0.histogram, $0.missed) }
        guard missed == 0 else { throw CommandFailure("\(missed) reads found nothing, and all should have") }
        return (rate, histogram)
    }
}
