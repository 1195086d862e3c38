public import FoundationEssentials
internal import X509

extension CertificateAuthority {
    /// Certifies a key for longer, for whoever has a certificate for it that is still in force.
    ///
    /// The request proves that the key is there; the certificate says whose it is. The new one is for the same identity and
    /// key, and for no host that the old one is not for.
    ///
    /// - Parameters:
    ///   - presented: the certificate in force, as PEM; of any authority that is trusted.
    ///   - identity: who asks, from the connection that the request came by.
    /// - Returns: the certificate as PEM.
    /// - Throws: ``IdentityError``: `malformed`; `untrusted` when the certificate has expired, is another's, or is for another
    ///   key or fewer hosts than the request; `invalidRequest` when this authority cannot issue it.
    public func renew(
        _ request: CertificateRequest, of presented: String, trustedBy trust: TrustBundle, as identity: SPIFFEID,
        validFor period: TimeInterval, now: Date
    ) throws(IdentityError) -> String {
        let leaf = try PEMParsing.certificates(presented)[0]
        let owner: SPIFFEID
        do throws(CertificateRefusal) {
            owner = try trust.verify(leaf, as: .client, trustDomain: trustDomain, now: now)
        } catch {
            throw IdentityError(.untrusted, "the certificate that is to be renewed is no good: \(error)")
        }
        for (other, what) in [(owner, "certificate that is to be renewed"), (request.identity, "certificate request")]
        where other != identity {
            throw IdentityError(.untrusted, "the \(what) is for \(other), and \(identity) asks")
        }
        guard request.publicKey == leaf.publicKey else {
            throw IdentityError(.untrusted, "the certificate request is for another key than the certificate")
        }
        let hosts = try CertificateSummary(leaf).hosts
        if let stranger = request.hosts.first(where: { !hosts.contains($0) }) {
            throw IdentityError(.untrusted, "the certificate request names \(stranger), which the certificate does not")
        }
        return try issue(request, validFor: period, now: now)
    }
}

extension CertificateSummary {
    /// DNS names and IP addresses, in the spelling of ``CertificateRequest/hosts``.
    public var hosts: [String] { dnsNames + ipAddresses }
}
