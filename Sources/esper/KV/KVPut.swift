import ArgumentParser
import EsperClient
import EsperTypes
import Foundation

struct KVPut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "put", abstract: "Set a key.")

    @Argument(help: "The key.")
    var key: String

    @Argument(help: "The value; - reads standard input.")
    var value: String

    @Option(help: "Remove the key when this session ends.", transform: SessionArgument.read)
    var session: SessionArgument?

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        let bytes = value == "-" ? [UInt8](FileHandle.standardInput.readDataToEndOfFile()) : Bytes.of(value)
        try await cluster.changing { client in
            // Not even sent: standard input may be of any size.
            guard bytes.count <= Limits.valueBytes else {
                throw CommandFailure(
                    .failed, "the value has \(bytes.count) bytes, more than \(Limits.valueBytes)",
                    reason: "invalid_argument", outcome: "not_committed")
            }
            let commit = try await client.put(Bytes.of(key), bytes, session: session?.id)
            cluster.output.print(
                .object(commit.fields + [.init(name: "key", value: .string(key))]),
                text: "committed at revision \(commit.revision)")
        }
    }
}
