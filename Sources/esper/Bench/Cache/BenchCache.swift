import ArgumentParser
import CacheCore

/// The kernel cache: its memory alone, and as a cluster serves it.
struct BenchCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cache", abstract: "The kernel cache: its memory alone, and as a cluster serves it.",
        subcommands: [
            BenchCachePolicies.self, BenchCacheLocal.self, BenchCacheMemory.self, BenchCacheTrace.self,
            BenchCacheLoad.self,
            BenchCacheRead.self, BenchCacheRestart.self, BenchCacheRolling.self,
        ], defaultSubcommand: BenchCacheTrace.self)
}

/// What policies hit.
struct BenchCachePolicies: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policies", abstract: "Hit ratios of every policy under generated workloads.")

    @Option(help: "Requests of each run; the second half counts.")
    var requests = 1_000_000

    @Option(help: "The seed of all workloads.")
    var seed: UInt64 = 1

    @Flag(help: "Workloads of a million keys too, with four times the requests.")
    var large = false

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard requests > 1 else { throw ValidationError("--requests takes a number above one") }
    }

    private struct Case {
        var name: String
        var shape: Workload.Shape = .zipf
        var keys: Int
        var exponent: Double
        /// Of all bytes.
        var part: Double
        var isSized = false
        var requests: Int
    }

    private var cases: [Case] {
        var cases: [Case] = []
        func zipf(_ keys: Int, _ exponent: Double, _ part: Double, times: Int = 1) {
            cases.append(
                Case(
                    name: "zipf \(exponent), \(keys) keys, \(percent(part)) %", keys: keys, exponent: exponent,
                    part: part,
                    requests: requests * times))
        }
        zipf(10_000, 0.9, 0.1)
        for keys in [10_000, 100_000] {
            for part in [0.01, 0.1] { zipf(keys, 1.0, part) }
        }
        for part in [0.01, 0.1] { zipf(100_000, 1.2, part) }
        if large {
            for exponent in [1.0, 1.2] {
                for part in [0.05, 0.1] { zipf(1_000_000, exponent, part, times: 4) }
            }
        }
        cases.append(
            Case(
                name: "churn 1.0, 10000 keys, 10 %", shape: .churn, keys: 10_000, exponent: 1, part: 0.1,
                requests: requests))
        cases.append(
            Case(
                name: "scan of a tenth, 100000 keys, 5 %", shape: .scan(from: requests / 2, count: requests / 10),
                keys: 100_000, exponent: 1, part: 0.05, requests: requests))
        cases.append(
            Case(
                name: "loop of 11000, 91 %", shape: .loop, keys: 11_000, exponent: 1, part: 10 / 11.0,
                requests: requests))
        for part in [0.01, 0.1] {
            cases.append(
                Case(
                    name: "sizes and costs, zipf 0.9, 10000 keys, \(percent(part)) %", keys: 10_000, exponent: 0.9,
                    part: part, isSized: true, requests: requests))
        }
        return cases
    }

    func run() async throws {
        var table = Table("workload", "policy", "hits %", "bytes %", "cost %")
        var rows: [JSON] = []
        for entry in cases {
            var bound = CacheModelReport.none
            if entry.shape == .zipf, !entry.isSized {
                let keys = ZipfKeys(count: entry.keys, exponent: entry.exponent)
                let ratio = keys.topHitRatio(capacity: Int((Double(entry.keys) * entry.part).rounded()))
                bound = CacheModelReport(hits: ratio, bytes: ratio, cost: ratio)
            }
            for policy in EvictionPolicy.named {
                var workload = Workload(
                    entry.shape, keys: entry.keys, exponent: entry.exponent, isSized: entry.isSized, seed: seed)
                let capacity = UInt64((Double(workload.bytes) * entry.part).rounded())
                var model = CacheModel(policy: policy, capacity: capacity)
                for position in 0..<entry.requests {
                    if position == entry.requests / 2 { model.resetCounts() }
                    model.request(workload.next())
                }
                let report = CacheModelReport(model.counts)
                report.add(entry.name, policy.description, to: &table, &rows)
            }
            if bound.hits > 0 { bound.add(entry.name, "bound", to: &table, &rows) }
        }
        output.print(
            .fields([
                "kind": "cache-policies", "requests": .int(requests), "seed": .unsigned(seed), "rows": .array(rows),
            ]), text: table.text)
    }

    private func percent(_ part: Double) -> String { "\(Int((part * 100).rounded()))" }
}

/// Three ratios of one run.
struct CacheModelReport {
    var hits: Double
    var bytes: Double
    var cost: Double

    static let none = CacheModelReport(hits: 0, bytes: 0, cost: 0)

    func add(_ workload: String, _ policy: String, to table: inout Table, _ rows: inout [JSON]) {
        table.add(workload, policy, Self.percent(hits), Self.percent(bytes), Self.percent(cost))
        rows.append(
            .fields([
                "workload": .string(workload), "policy": .string(policy), "hit_percent": .rounded(hits * 100),
                "byte_hit_percent": .rounded(bytes * 100), "cost_hit_percent": .rounded(cost * 100),
            ]))
    }

    /// With two decimals.
    static func percent(_ ratio: Double) -> String {
        let hundredths = Int((ratio * 10_000).rounded())
        return "\(hundredths / 100).\(hundredths % 100 / 10)\(hundredths % 10)"
    }
}

extension CacheModelReport {
    init(_ counts: HitCounts) {
        self.init(hits: counts.hitRatio, bytes: counts.byteHitRatio, cost: counts.costHitRatio)
    }
}
