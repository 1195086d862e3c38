import ArgumentParser
import EsperClient

struct KVDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a key; exit code 0 also when there was none.")

    @Argument(help: "The key, or with --prefix how the keys begin.")
    var key: String

    @Flag(help: "Delete every key that begins so.")
    var prefix = false

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let (commit, deleted) = try await client.delete(prefix ? .prefix(Bytes.of(key)) : .key(Bytes.of(key)))
            cluster.output.print(
                .object(commit.fields + [.init(name: "deleted", value: .unsigned(deleted))]),
                text: "\(deleted) deleted at revision \(commit.revision)")
        }
    }
}
