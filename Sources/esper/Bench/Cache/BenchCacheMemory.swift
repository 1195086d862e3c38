import ArgumentParser
import CacheCore
import EsperTypes
import Glibc
import KernelCache

/// What the cache's memory charges itself, beside what the process grows by.
struct BenchCacheMemory: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory",
        abstract: "Fills a memory tier beyond its limit, and compares what it accounts with what the process takes.",
        discussion: """
            Nodes use jemalloc: LD_PRELOAD=libjemalloc.so.2 esper bench cache memory. One size (or mix of sizes) a run, since what
            one run gives back the next would use again.
            """)

    @Option(parsing: .upToNextOption, help: "Bytes of the values, one after the other; default: 2048.")
    var valueBytes = [2048]

    @Option(help: "What the tier may hold, in mebibytes.")
    var limit = 256

    @Option(help: "How often all of it is replaced by other values.")
    var turns = 3

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard limit > 0, turns >= 0, valueBytes.allSatisfy({ $0 > 0 }) else {
            throw ValidationError("all numbers are above zero, and --turns not below")
        }
        guard valueBytes.allSatisfy({ $0 <= CacheLimits.blobBytes }) else {
            throw ValidationError("--value-bytes takes up to \(CacheLimits.blobBytes)")
        }
    }

    func run() async throws {
        let limitBytes = UInt64(limit) << 20
        let tier = MemoryTier(.init(limitBytes: limitBytes, seed: 42))
        var generator = SplitMix64(seed: 1)
        let before = try residentBytes()
        var largest: UInt64 = 0
        var put: UInt64 = 0
        var number = 0
        while put < limitBytes * UInt64(turns + 1) {
            let size = valueBytes[number % valueBytes.count]
            let digest = Digest(words: generator.next(), generator.next(), generator.next(), generator.next())
            let value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size)
            tier.put(value, under: digest)
            put += MemoryStripe.charge(value)
            number += 1
            if number % 4096 == 0 {
                tier.maintain()
                largest = max(largest, tier.accountedBytes)
            }
        }
        tier.maintain()
        let statistics = tier.stat()
        let accounted = statistics.accountedBytes
        let grown = Int(clamping: try residentBytes()) - Int(clamping: before)
        let ratio = Double(grown) / Double(accounted)
        var table = Table("entries", "limit MiB", "accounted MiB", "largest MiB", "process grew by MiB", "ratio")
        table.add(
            "\(statistics.entries)", "\(limit)", "\(accounted >> 20)", "\(largest >> 20)", "\(grown >> 20)",
            "\((ratio * 1000).rounded() / 1000)")
        output.print(
            .fields([
                "kind": "cache-memory", "value_bytes": .array(valueBytes.map { .int($0) }),
                "entries": .int(statistics.entries), "limit_bytes": .unsigned(limitBytes),
                "accounted_bytes": .unsigned(accounted), "largest_accounted_bytes": .unsigned(largest),
                "grown_bytes": .int(grown), "ratio": .rounded(ratio),
            ]), text: table.text)
    }

    private func residentBytes() throws -> UInt64 {
        guard let bytes = ProcessRecord(running: getpid())?.residentBytes else {
            throw CommandFailure("cannot read what this process takes from /proc")
        }
        return bytes
    }
}
