import ArgumentParser
import CacheCore
import EsperTypes
import Foundation

/// What policies would have hit of what was really asked.
struct BenchCacheTrace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract:
            "Hit ratios of every policy over a trace that a node has written; 'esper bench cache --trace FILE' too.")

    @Option(name: .customLong("trace"), help: "The file, as the settings of the node name it.")
    var file: String

    @Option(help: "Sizes of the cache to try, in MiB; of the whole cache, whatever part of the keys was sampled.")
    var mebibytes: [Int] = [64, 256, 1024]

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard !mebibytes.isEmpty, mebibytes.allSatisfy({ $0 > 0 }) else {
            throw ValidationError("--mebibytes takes numbers above zero")
        }
    }

    func run() async throws {
        let path = Files.absolute(file)
        guard let data = FileManager.default.contents(atPath: path) else { throw CommandFailure("cannot read \(path)") }
        let (requests, ratio, recorded) = try read([UInt8](data))
        guard !requests.isEmpty else { throw CommandFailure("\(path) holds no request") }
        var table = Table("MiB", "policy", "hits %", "bytes %", "cost %")
        var rows: [JSON] = []
        for size in mebibytes {
            for policy in EvictionPolicy.named {
                var model = CacheModel(
                    policy: policy, capacity: UInt64(size) << 20 / UInt64(ratio),
                    overhead: UInt32(MemoryStripe.overheadBytes))
                for request in requests { model.request(request) }
                CacheModelReport(model.counts).add("\(size)", policy.description, to: &table, &rows)
            }
        }
        let share = CacheModelReport.percent(Double(recorded) / Double(requests.count))
        output.print(
            .fields([
                "kind": "cache-trace", "requests": .int(requests.count), "sampling_ratio": .int(Int(ratio)),
                "recorded_hits": .int(recorded), "rows": .array(rows),
            ]),
            text: "\(requests.count) requests, 1 key of \(ratio); the node's memory had \(share) %\n\(table.text)")
    }

    private func read(_ bytes: [UInt8]) throws -> (requests: [CacheRequest], ratio: UInt32, recorded: Int) {
        do {
            var decoder = try TraceDecoder(bytes)
            var requests: [CacheRequest] = []
            var recorded = 0
            while let record = try decoder.next() {
                requests.append(
                    CacheRequest(key: record.key, bytes: record.bytes, costMilliseconds: record.costMilliseconds))
                if record.isHit { recorded += 1 }
            }
            return (requests, max(1, decoder.samplingRatio), recorded)
        } catch {
            throw CommandFailure("\(file) is no trace of a cache, or is damaged: \(error)")
        }
    }
}
