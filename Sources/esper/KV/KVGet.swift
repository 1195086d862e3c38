import ArgumentParser
import EsperClient
import EsperTypes

struct KVGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Print a key's value; exit code 1 when there is no such key.")

    @Argument(help: "The key.")
    var key: String

    @OptionGroup var read: ReadOptions
    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let (pair, revision) = try await client.get(
                Bytes.of(key), revision: read.revision, local: read.local)
            if cluster.output.isJSON {
                let head: [JSON.Field] = [
                    .init(name: "found", value: .bool(pair != nil)),
                    .init(name: "revision", value: .unsigned(revision)),
                ]
                Terminal.line(JSON.object(head + (pair?.fields ?? Bytes.fields("key", Bytes.of(key)))).text)
            } else if let pair {
                Terminal.raw(pair.value + [UInt8(ascii: "\n")])
            }
            guard pair != nil else {
                throw CommandFailure(.failed, "there is no key \(key)", reason: "not_found")
            }
        }
    }
}
