import FoundationEssentials
import Identity
import Testing

@Suite struct CertificateAuthorityTests {
    @Test func `a node's certificate names it, its hosts and both ends of a connection`() throws {
        let issued = try authority().issue(
            .node, name: "n1", hosts: ["localhost", "127.0.0.1", "::1"], validFor: 10 * day, now: today)
        let summary = try #require(try CertificateSummary.read(pem: issued.certificatePEM).first)
        #expect(summary.identity == (try SPIFFEID("spiffe://esper.local/node/n1")))
        #expect(summary.dnsNames == ["localhost"])
        #expect(summary.ipAddresses == ["127.0.0.1", "::1"])
        #expect(summary.usages == ["server", "client"])
        #expect(!summary.isAuthority)
        #expect(summary.notValidBefore == today - CertificateAuthority.clockAllowance)
        #expect(summary.notValidAfter == today + 10 * day)
    }

    @Test func `a client's certificate may only call`() throws {
        let issued = try authority().issue(.client, name: "ops", validFor: day, now: today)
        let summary = try #require(try CertificateSummary.read(pem: issued.certificatePEM).first)
        #expect(summary.usages == ["client"])
        #expect(summary.identity?.role == .client)
    }

    @Test func `no certificate outlives its authority`() throws {
        let issued = try authority().issue(.node, name: "n1", validFor: 1000 * day, now: today)
        let summary = try #require(try CertificateSummary.read(pem: issued.certificatePEM).first)
        #expect(summary.notValidAfter == today + 100 * day)
    }

    @Test func `an authority is loaded from what it wrote and goes on issuing`() throws {
        let first = try authority("lab.example")
        let second = try CertificateAuthority(
            certificatePEM: try first.certificatePEM, privateKeyPEM: try first.privateKeyPEM)
        #expect(second.trustDomain == "lab.example")
        let issued = try second.issue(.node, name: "n1", validFor: day, now: today)
        #expect(try credentials(issued, trusting: first).identity == issued.identity)
    }

    @Test func `an authority with another's key is refused`() throws {
        let (first, second) = (try authority(), try authority())
        #expect(throws: IdentityError.self) {
            try CertificateAuthority(certificatePEM: try first.certificatePEM, privateKeyPEM: try second.privateKeyPEM)
        }
    }

    @Test func `a leaf cannot be used as an authority`() throws {
        let issued = try authority().issue(.node, name: "n1", validFor: day, now: today)
        let error = #expect(throws: IdentityError.self) {
            try CertificateAuthority(certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM)
        }
        #expect(error?.code == .untrusted)
    }

    @Test(arguments: ["", "a b", "a/b", String(repeating: "n", count: 65), "ü"])
    func `a name that no identity can hold is refused`(name: String) throws {
        let error = #expect(throws: IdentityError.self) {
            try authority().issue(.node, name: name, validFor: day, now: today)
        }
        #expect(error?.code == .invalidRequest)
    }

    @Test(arguments: ["", "a b", "..", "http://x", "a/b", "1.2.3.4:80"])
    func `a host that no certificate can hold is refused`(host: String) throws {
        let error = #expect(throws: IdentityError.self) {
            try authority().issue(.node, name: "n1", hosts: [host], validFor: day, now: today)
        }
        #expect(error?.code == .invalidRequest)
    }
}
