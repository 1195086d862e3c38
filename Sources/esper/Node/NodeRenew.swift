import ArgumentParser
import Coordination
import Enrollment
import EsperTypes
import Foundation

struct NodeRenew: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "renew", abstract: "Get a new certificate for a node that joined by a token.",
        discussion: """
            The key stays; the cluster knows the node by it and certifies it again, for a token of any node or of this one.             That counts as no use of the token. A node that this host started with --start is told to read the certificate;             send SIGHUP to any other.
            """)

    @OptionGroup var token: TokenOptions

    @Option(name: [.customLong("dir")], help: "The node's directory.")
    var directory: String

    @Option(
        help: "How long to wait for what passes by itself, such as a missing leader.",
        transform: WrittenDuration.read)
    var wait = WrittenDuration(.seconds(60))

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let host = try JoiningHost.enrolled(in: (Files.absolute(directory) as NSString).standardizingPath)
        guard let shown = try token.read() else { throw CommandFailure(.usage, "give --token or --token-file") }
        let outcome = try await host.certify(by: shown, within: wait.duration)
        let isReloaded = host.reload()
        let expires = outcome.notValidAfter.ISO8601Format()
        output.print(
            .fields([
                "name": .string(host.member.name), "id": .string(outcome.enrolled.node.description),
                "expires_at": .string(expires), "reloaded": .bool(isReloaded),
            ]),
            text: "the certificate of \(host.member.name) is good until \(expires)"
                + (isReloaded ? "" : "; send SIGHUP to the node"))
    }
}
