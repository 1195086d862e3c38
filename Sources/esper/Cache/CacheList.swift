import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes

struct CacheList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Names in order, with what they stand for.")

    @Argument(help: "How the names begin; nothing lists all.")
    var prefix = ""

    @Option(help: "Names above this one.")
    var after: String?

    @Option(help: "At most this many names, 1 to 1000.")
    var limit = 1000

    @OptionGroup var tenant: TenantOption
    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard (1...1000).contains(limit) else { throw ValidationError("--limit is 1 to 1000") }
    }

    func run() async throws {
        try await cluster.withClient { client in
            let list = try await client.cache.list(
                prefix: ArtifactName(prefix, tenant: tenant.tenant), after: Bytes.of(after ?? ""), limit: limit)
            cluster.output.print(
                .fields([
                    "artifacts": .array(
                        list.entries.map { name, binding in
                            .object(name.fields + [.init(name: "binding", value: binding.json)])
                        }),
                    "more": .bool(list.more),
                ]),
                text: text(list))
        }
    }

    private func text(_ list: ArtifactList) -> String {
        guard !list.entries.isEmpty else { return "no artifacts" }
        var table = Table("name", "kind", "version", "size", "cost", "tiers")
        for (name, binding) in list.entries {
            table.add(
                Bytes.readable(name.bytes), "\(binding.kind)", "\(binding.version.rawValue)",
                WrittenSize.text(binding.size), "\(binding.costMilliseconds) ms", binding.tiers.text)
        }
        return table.text + (list.more ? "\n… more; go on with --after" : "")
    }
}
