import ArgumentParser
import Foundation
import Identity

struct PKIInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Say what certificates hold; nothing is verified.")

    @Argument(help: "PEM files with certificates.")
    var files: [String]

    @OptionGroup var output: OutputOptions

    func run() async throws {
        var found: [(file: String, summary: CertificateSummary)] = []
        for file in files {
            let pem = try PEMFile.read(file)
            do throws(IdentityError) {
                for summary in try CertificateSummary.read(pem: pem) { found.append((file, summary)) }
            } catch {
                throw CommandFailure("\(file): \(error)")
            }
        }
        let now = Date()
        output.print(
            .array(found.map { Self.json($0.file, $0.summary, now: now) }),
            text: found.map { Self.text($0.file, $0.summary, now: now) }.joined(separator: "\n\n"))
    }

    private static func json(_ file: String, _ summary: CertificateSummary, now: Date) -> JSON {
        .fields([
            "file": .string(file),
            "identity": .optional(summary.identity) { .string($0.description) },
            "subject": .string(summary.subject),
            "issuer": .string(summary.issuer),
            "serial_number": .string(summary.serialNumber),
            "not_before": .string(summary.notValidBefore.ISO8601Format()),
            "not_after": .string(summary.notValidAfter.ISO8601Format()),
            "valid_now": .bool(summary.notValidBefore <= now && now <= summary.notValidAfter),
            "authority": .bool(summary.isAuthority),
            "dns_names": .array(summary.dnsNames.map { .string($0) }),
            "ip_addresses": .array(summary.ipAddresses.map { .string($0) }),
            "uris": .array(summary.uris.map { .string($0) }),
            "usages": .array(summary.usages.map { .string($0) }),
            "sha256": .string(summary.fingerprint),
        ])
    }

    private static func text(_ file: String, _ summary: CertificateSummary, now: Date) -> String {
        let days = Int(summary.notValidAfter.timeIntervalSince(now) / 86400)
        let hosts = summary.dnsNames + summary.ipAddresses
        return """
            \(file)
              identity  \(summary.identity?.description ?? (summary.isAuthority ? "authority" : "none"))
              subject   \(summary.subject)
              issuer    \(summary.issuer)
              valid     \(summary.notValidBefore.ISO8601Format()) to \(summary.notValidAfter.ISO8601Format()) \
            (\(days < 0 ? "expired" : "\(days) days left"))
              hosts     \(hosts.isEmpty ? "-" : hosts.joined(separator: ", "))
              usages    \(summary.usages.isEmpty ? "-" : summary.usages.joined(separator: ", "))
              sha256    \(summary.fingerprint)
            """
    }
}
