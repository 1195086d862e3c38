import ArgumentParser
import EsperClient

struct KVCompact: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compact", abstract: "Forget revisions below the given one; present values stay.")

    @Argument(help: "The oldest revision that shall stay readable.")
    var revision: UInt64

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let commit = try await client.compact(revision)
            cluster.output.print(
                .object(commit.fields + [.init(name: "oldest_revision", value: .unsigned(revision))]),
                text: "revisions below \(revision) are forgotten")
        }
    }
}
