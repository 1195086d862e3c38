import FoundationEssentials
import Identity

/// The authority whose key this node has, and all that are trusted, as the files hold them.
struct AuthorityKey {
    var authority: CertificateAuthority
    /// Every authority that is trusted, in PEM.
    var trustedPEM: String

    /// Nil when the settings name no key. Blocks while it reads.
    ///
    /// - Throws: ``StartError``, or ``IdentityError``, when the files are no good.
    static func read(_ settings: NodeSettings) throws -> AuthorityKey? {
        guard let file = settings.tls.authorityKey else { return nil }
        let trusted = try PEMFile.read(settings.tls.authority)
        let authority: CertificateAuthority
        do throws(IdentityError) {
            authority = try CertificateAuthority(among: trusted, privateKeyPEM: try PEMFile.readSecret(file))
        } catch {
            throw StartError(message: "tls.authority_key \(file): \(error)")
        }
        guard authority.trustDomain == settings.tls.trustDomain else {
            throw StartError(
                message: "the authority of \(file) is of the trust domain \(authority.trustDomain), "
                    + "and this cluster of \(settings.tls.trustDomain)")
        }
        return AuthorityKey(authority: authority, trustedPEM: trusted)
    }
}
