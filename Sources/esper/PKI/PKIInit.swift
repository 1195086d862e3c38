import ArgumentParser
import Identity

struct PKIInit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a certificate authority for a cluster.")

    @OptionGroup var store: KeyStoreOptions
    @OptionGroup var output: OutputOptions

    @Option(help: "The trust domain of every name it signs.")
    var trustDomain = "esper.local"

    @Option(help: "How long the authority is valid.", transform: WrittenDuration.read)
    var validFor = WrittenDuration(.seconds(KeyStore.authorityPeriod))

    func run() async throws {
        let keys = store.keys
        do {
            try keys.createAuthority(trustDomain: trustDomain, validFor: validFor.seconds, replacing: false)
        } catch let error as IdentityError where error.code == .exists {
            throw CommandFailure("\(error.message); 'esper pki rotate --authority' replaces an authority without a gap")
        }
        output.print(
            .fields([
                "trust_domain": .string(trustDomain), "ca": .string(keys.trustPath),
                "directory": .string(keys.directory),
            ]),
            text: "authority for \(trustDomain) in \(keys.directory); trust it by \(keys.trustPath)")
    }
}

/// Which directory of keys a command works on.
struct KeyStoreOptions: ParsableArguments {
    @Option(name: [.customLong("dir")], help: "The directory of the authority and its certificates.")
    var directory = ".esper/pki"

    var keys: KeyStore { KeyStore(directory: Files.absolute(directory)) }
}
