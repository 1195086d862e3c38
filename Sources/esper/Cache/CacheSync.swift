import ArgumentParser
import EsperClient
import EsperTypes

struct CacheSync: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sync", abstract: "Compare what the holders of each shard have, and copy what one of them lacks.")

    @Option(help: "Only this shard.", transform: WrittenShard.read)
    var shard: WrittenShard?

    @Flag(help: "Only compare.")
    var dryRun = false

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let answer = try await client.cache.sync(
                shard: shard?.shard, dryRun: dryRun, timeout: cluster.timeout.duration)
            cluster.output.print(
                .fields([
                    "shards": .unsigned(answer.shards), "equal": .unsigned(answer.equal),
                    "differences": .unsigned(answer.differences), "repaired_blobs": .unsigned(answer.repairedBlobs),
                    "repaired_bytes": .unsigned(answer.repairedBytes),
                    "lost": .unsigned(answer.lost),
                    "unreachable": .array(answer.unreachable.map(JSON.string)),
                ]),
                text: "\(answer.shards) shards, \(answer.equal) equal; \(answer.differences) blobs were missing, "
                    + "\(answer.repairedBlobs) copied (\(WrittenSize.text(answer.repairedBytes)))"
                    + (answer.lost == 0 ? "" : "; \(answer.lost) are nowhere")
                    + (answer.unreachable.isEmpty ? "" : "; not heard: \(answer.unreachable.joined(separator: ", "))"))
        }
    }
}
