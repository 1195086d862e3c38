import ArgumentParser
import EsperClient
import EsperTypes

struct CacheSync: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sync", abstract: "Compare what the holders of each shard have, and copy what one of them lacks.",
        discussion: """
            A node compares the shards that it holds; --all asks every one. Without --shard it also compares the catalog's rows of names with \
            what is bound, and writes wrong ones anew. Nodes do all of this by themselves now and then (cache.sync_interval).
            """)

    @Option(help: "Only this shard.", transform: WrittenShard.read)
    var shard: WrittenShard?

    @Flag(help: "Only compare.")
    var dryRun = false

    @Flag(help: "Ask every node of the configuration, one after the other.")
    var all = false

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        guard all else {
            return try await cluster.withClient { client in
                let answer = try await ask(client)
                cluster.output.print(.object(Self.fields(of: answer)), text: Self.text(of: answer))
            }
        }
        let settings = try ClientSettings.load(cluster.config.path())
        let pinned = try PinnedClients(settings, timeout: cluster.timeout.duration)
        defer { pinned.close() }
        var nodes: [JSON] = []
        var lines: [String] = []
        var failed: [String] = []
        for (endpoint, client) in zip(settings.endpoints, pinned.clients) {
            let place = "\(endpoint)"
            let answer: SyncAnswer
            do { answer = try await ask(client) } catch {
                failed.append(place)
                nodes.append(.fields(["endpoint": .string(place), "error": .string("\(error)")]))
                lines.append("\(place): \(error)")
                continue
            }
            nodes.append(.object([JSON.Field(name: "endpoint", value: .string(place))] + Self.fields(of: answer)))
            lines.append("\(place): \(Self.text(of: answer))")
        }
        cluster.output.print(.fields(["nodes": .array(nodes)]), text: lines.joined(separator: "\n"))
        if !failed.isEmpty {
            throw CommandFailure("\(failed.joined(separator: ", ")) did not compare; run it again when all answer")
        }
    }

    private func ask(_ client: EsperClient) async throws -> SyncAnswer {
        try await client.cache.sync(shard: shard?.shard, dryRun: dryRun, timeout: cluster.timeout.duration)
    }

    private static func fields(of answer: SyncAnswer) -> [JSON.Field] {
        [
            JSON.Field(name: "shards", value: .unsigned(answer.shards)),
            JSON.Field(name: "equal", value: .unsigned(answer.equal)),
            JSON.Field(name: "differences", value: .unsigned(answer.differences)),
            JSON.Field(name: "repaired_blobs", value: .unsigned(answer.repairedBlobs)),
            JSON.Field(name: "repaired_bytes", value: .unsigned(answer.repairedBytes)),
            JSON.Field(name: "lost", value: .unsigned(answer.lost)),
            JSON.Field(name: "wrong_rows", value: .unsigned(answer.wrongRows)),
            JSON.Field(name: "repaired_rows", value: .unsigned(answer.repairedRows)),
            JSON.Field(name: "unreachable", value: .array(answer.unreachable.map(JSON.string))),
        ]
    }

    private static func text(of answer: SyncAnswer) -> String {
        "\(answer.shards) shards, \(answer.equal) equal; \(answer.differences) blobs were missing, "
            + "\(answer.repairedBlobs) copied (\(WrittenSize.text(answer.repairedBytes)))"
            + (answer.lost == 0 ? "" : "; \(answer.lost) are nowhere")
            + (answer.wrongRows == 0
                ? "" : "; \(answer.wrongRows) rows of the catalog were wrong, \(answer.repairedRows) written anew")
            + (answer.unreachable.isEmpty ? "" : "; not heard: \(answer.unreachable.joined(separator: ", "))")
    }
}
