import FoundationEssentials
import Identity
import Testing

@Suite struct CertificateRenewalTests {
    private let authority: CertificateAuthority
    private let trust: TrustBundle
    private let issued: IssuedCertificate
    private let identity: SPIFFEID

    init() throws {
        authority = try newAuthority()
        trust = try TrustBundle(pem: authority.certificatePEM)
        issued = try authority.issue(
            .node, name: "n1", hosts: ["n1.internal", "10.0.0.1"], validFor: 9 * day, now: today)
        identity = issued.identity
    }

    private func request(
        _ identity: SPIFFEID? = nil, hosts: [String] = ["n1.internal", "10.0.0.1"], key: String? = nil
    ) throws -> CertificateRequest {
        try CertificateRequest(
            for: identity ?? self.identity, hosts: hosts, privateKeyPEM: key ?? issued.privateKeyPEM)
    }

    private func renew(
        _ request: CertificateRequest, of presented: String? = nil, as asker: SPIFFEID? = nil, at moment: Date = today
    ) throws -> String {
        try authority.renew(
            request, of: presented ?? issued.certificatePEM, trustedBy: trust, as: asker ?? identity, validFor: 9 * day,
            now: moment)
    }

    @Test func `whoever has a certificate in force gets one for the same key, identity and hosts, with a later end`()
        throws
    {
        let pem = try renew(try request(), at: today + 8 * day)
        let credentials = try TLSCredentials(
            certificatePEM: pem, privateKeyPEM: issued.privateKeyPEM, authorityPEM: try authority.certificatePEM,
            now: today + 8 * day)
        #expect(credentials.identity == identity && credentials.notValidAfter == today + 17 * day)
        let summary = try #require(try CertificateSummary.read(pem: pem).first)
        #expect(summary.hosts == ["n1.internal", "10.0.0.1"] && summary.usages == ["server", "client"])
    }

    @Test func `a certificate of an authority that is on its way out is renewed by the new one`() throws {
        let next = try newAuthority()
        let both = try TrustBundle(pem: authority.certificatePEM + next.certificatePEM)
        let pem = try next.renew(
            try request(), of: issued.certificatePEM, trustedBy: both, as: identity, validFor: day, now: today)
        #expect(throws: Never.self) {
            try TLSCredentials(
                certificatePEM: pem, privateKeyPEM: issued.privateKeyPEM, authorityPEM: try next.certificatePEM,
                now: today)
        }
    }

    @Test func `what has expired, is another's, or asks for more is refused with the reason`() throws {
        let other = try authority.issue(.node, name: "n2", hosts: ["n2.internal"], validFor: 9 * day, now: today)
        let client = try authority.issue(.client, name: "n1", validFor: 9 * day, now: today)
        let stranger = try newAuthority().issue(
            .node, name: "n1", hosts: ["n1.internal", "10.0.0.1"], validFor: 9 * day, now: today)
        for (says, attempt) in [
            ("expired", { try renew(try request(), at: today + 10 * day) }),
            ("not valid before", { try renew(try request(), at: today - day) }),
            ("do not trust", { try renew(try request(key: stranger.privateKeyPEM), of: stranger.certificatePEM) }),
            // Its link shows who asks; neither certificate nor request makes it another.
            ("and spiffe://esper.local/node/n2 asks", { try renew(try request(), as: other.identity) }),
            ("request is for spiffe://esper.local/node/n2", { try renew(try request(other.identity)) }),
            (
                "certificate that is to be renewed is for spiffe://esper.local/node/n2",
                { try renew(try request(), of: other.certificatePEM) }
            ),
            (
                "for spiffe://esper.local/client/n1",
                { try renew(try request(key: client.privateKeyPEM), of: client.certificatePEM) }
            ),
            ("another key", { try renew(try request(key: try PrivateKey.newPEM())) }),
            ("names n2.internal", { try renew(try request(hosts: ["n1.internal", "n2.internal"])) }),
            ("no PEM certificate", { try renew(try request(), of: "-----BEGIN") }),
        ] as [(String, () throws -> String)] {
            let error = #expect(throws: IdentityError.self) { try attempt() }
            #expect(error?.message.contains(says) == true, "\(says): \(error?.message ?? "granted")")
        }
    }
}

private func newAuthority() throws -> CertificateAuthority { try authority() }
