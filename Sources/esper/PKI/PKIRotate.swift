import ArgumentParser
import Foundation
import Identity

struct PKIRotate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate", abstract: "Sign certificates anew, with new keys and the same names and hosts.",
        discussion: """
            With --authority a new authority takes over first, and ca.pem goes on trusting the earlier one: hand ca.pem \
            to every node, then the new certificates, then drop the earlier authority from ca.pem. Nodes read their \
            files when they start and on SIGHUP.
            """)

    @Argument(help: "Names; none: every certificate of the directory.")
    var names: [String] = []

    @OptionGroup var store: KeyStoreOptions
    @OptionGroup var output: OutputOptions

    @Flag(help: "Replace the authority too.")
    var authority = false

    @Option(help: "How long the new certificates are valid.", transform: WrittenDuration.read)
    var validFor = WrittenDuration(.seconds(KeyStore.leafPeriod))

    func run() async throws {
        let keys = store.keys
        if authority {
            try keys.createAuthority(
                trustDomain: try keys.authority().trustDomain, validFor: KeyStore.authorityPeriod, replacing: true)
        }
        let chosen = names.isEmpty ? try keys.names() : names
        for name in chosen {
            guard let old = try CertificateSummary.read(pem: PEMFile.read(keys.certificatePath(name))).first,
                let identity = old.identity
            else {
                throw CommandFailure("\(keys.certificatePath(name)) names no node or client; issue it anew")
            }
            try keys.issue(
                identity.role, name: identity.name, hosts: old.dnsNames + old.ipAddresses, validFor: validFor.seconds,
                replacing: true)
        }
        output.print(
            .fields(["authority_replaced": .bool(authority), "rotated": .array(chosen.map { .string($0) })]),
            text: (authority ? "a new authority signs from now on; " : "")
                + "rotated: \(chosen.joined(separator: ", "))")
    }
}
