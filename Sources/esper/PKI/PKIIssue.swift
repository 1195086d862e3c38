import ArgumentParser
import Identity

struct PKIIssue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue", abstract: "Sign a certificate for a node or a client.",
        discussion: "Example: esper pki issue node n1 --host 10.0.0.1 --host n1.example.net")

    @Argument(
        help: "node or client.",
        transform: { text in
            guard let role = SPIFFEID.Role(rawValue: text) else {
                throw ValidationError("'\(text)' is not node or client")
            }
            return role
        })
    var role: SPIFFEID.Role

    @Argument(help: "The name, unique in its role: spiffe://TRUST-DOMAIN/ROLE/NAME.")
    var name: String

    @OptionGroup var store: KeyStoreOptions
    @OptionGroup var output: OutputOptions

    @Option(name: [.customLong("host")], help: "A DNS name or address under which the node is reached; repeatable.")
    var hosts: [String] = []

    @Option(help: "How long the certificate is valid.", transform: WrittenDuration.read)
    var validFor = WrittenDuration(.seconds(KeyStore.leafPeriod))

    func validate() throws {
        if role == .node, hosts.isEmpty { throw ValidationError("a node's certificate needs at least one --host") }
        if name == "authority" || name == "ca" {
            throw ValidationError("'\(name)' is the name of the authority's files")
        }
    }

    func run() async throws {
        let keys = store.keys
        do {
            try keys.issue(role, name: name, hosts: hosts, validFor: validFor.seconds, replacing: false)
        } catch let error as IdentityError where error.code == .exists {
            throw CommandFailure("\(error.message); 'esper pki rotate \(name)' replaces a certificate")
        }
        output.print(
            .fields([
                "name": .string(name), "role": .string(role.rawValue),
                "certificate": .string(keys.certificatePath(name)),
                "private_key": .string(keys.keyPath(name)), "ca": .string(keys.trustPath),
            ]),
            text: "\(keys.certificatePath(name)) and \(keys.keyPath(name))")
    }
}
