import Foundation
import Identity

/// A directory with an authority and the certificates it signed.
///
///     ca.pem           what everybody trusts: the signing authority's certificate, then earlier ones
///     authority.pem    the signing authority's certificate
///     authority.key    its key; whoever has it can speak as any node
///     NAME.pem, NAME.key
///
/// Every file is readable by its owner alone.
struct KeyStore {
    let directory: String

    /// Certificates of nodes and clients are signed for this long unless something else is asked for.
    static let leafPeriod: TimeInterval = 365 * 86400
    static let authorityPeriod: TimeInterval = 10 * 365 * 86400

    var trustPath: String { "\(directory)/ca.pem" }
    private var authorityPath: String { "\(directory)/authority.pem" }
    var authorityKeyPath: String { "\(directory)/authority.key" }

    func certificatePath(_ name: String) -> String { "\(directory)/\(name).pem" }
    func keyPath(_ name: String) -> String { "\(directory)/\(name).key" }

    var hasAuthority: Bool { Files.exists(authorityKeyPath) && Files.exists(authorityPath) && Files.exists(trustPath) }

    /// Makes the authority.
    ///
    /// - Parameter replacing: a new authority takes over signing; certificates of the earlier ones stay trusted.
    func createAuthority(trustDomain: String, validFor period: TimeInterval, replacing: Bool) throws {
        try Files.createDirectory(directory, mode: 0o700)
        let earlier = replacing ? try PEMFile.read(trustPath) : ""
        let authority = try CertificateAuthority(newFor: trustDomain, validFor: period, now: Date())
        // The trust goes first: a crash in between leaves a bundle that trusts one authority too many, never too few.
        try PEMFile.write(try authority.certificatePEM + earlier, to: trustPath, replacing: replacing)
        try PEMFile.write(try authority.privateKeyPEM, to: authorityKeyPath, replacing: replacing)
        try PEMFile.write(try authority.certificatePEM, to: authorityPath, replacing: replacing)
    }

    func authority() throws -> CertificateAuthority {
        guard hasAuthority else {
            throw CommandFailure(
                "there is no authority in \(directory); make one with 'esper pki init --dir \(directory)'")
        }
        return try CertificateAuthority(
            certificatePEM: PEMFile.read(authorityPath), privateKeyPEM: PEMFile.read(authorityKeyPath))
    }

    func issue(
        _ role: SPIFFEID.Role, name: String, hosts: [String], validFor period: TimeInterval, replacing: Bool
    ) throws {
        let issued = try authority().issue(role, name: name, hosts: hosts, validFor: period, now: Date())
        try issued.write(certificate: certificatePath(name), privateKey: keyPath(name), replacing: replacing)
    }

    /// Names that have a certificate here, sorted.
    func names() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: directory)
            .filter { $0.hasSuffix(".key") && $0 != "authority.key" }
            .map { String($0.dropLast(4)) }
            .filter { Files.exists(certificatePath($0)) }
            .sorted()
    }
}
