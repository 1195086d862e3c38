import ArgumentParser
import EsperClient
import EsperTypes

struct CacheWarm: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warm", abstract: "Bring artifacts into a node's memory before they are asked for.")

    @Argument(help: "Names.")
    var names: [String] = []

    @Option(help: "What is worth most by use and cost of all that any node has in memory, at most so many blobs.")
    var top: Int?

    @Option(help: "Everything that belongs to this graph.", transform: WrittenDigest.read)
    var lineage: WrittenDigest?

    @Option(help: "At most so many bytes, such as 256MiB.", transform: WrittenSize.read)
    var budget: WrittenSize?

    @Option(help: "At most so many bytes in a second.", transform: WrittenSize.read)
    var rate: WrittenSize?

    @OptionGroup var tenant: TenantOption
    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard [!names.isEmpty, top != nil, lineage != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("give names, --top or --lineage")
        }
        if let top, top < 1 { throw ValidationError("--top is at least 1") }
    }

    func run() async throws {
        let selection: WarmSelection =
            lineage.map { .lineage($0.digest) } ?? top.map { .top($0) }
            ?? .names(names.map { ArtifactName($0, tenant: tenant.tenant) })
        try await cluster.withClient { client in
            let answer = try await client.cache.warm(
                selection, budgetBytes: budget?.bytes, bytesPerSecond: rate?.bytes, timeout: cluster.timeout.duration)
            cluster.output.print(
                .fields([
                    "artifacts": .unsigned(answer.artifacts), "blobs": .unsigned(answer.blobs),
                    "bytes": .unsigned(answer.bytes), "present": .unsigned(answer.present),
                    "missing": .unsigned(answer.missing), "warmed_bytes": .unsigned(answer.warmedBytes),
                    "warmed_hits": .unsigned(answer.warmedHits),
                ]),
                text: "\(answer.artifacts) artifacts, \(WrittenSize.text(answer.bytes)) brought in; "
                    + "\(answer.present) were there, \(answer.missing) not found")
        }
    }
}
