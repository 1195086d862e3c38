import FoundationEssentials
import Identity
import Testing

@Suite struct CertificateRequestTests {
    private let key: String
    private let identity: SPIFFEID

    init() throws {
        key = try PrivateKey.newPEM()
        identity = try SPIFFEID("spiffe://esper.local/node/n4")
    }

    @Test func `a request reads back, and its certificate is for the key that stayed where it was`() throws {
        let made = try CertificateRequest(
            for: identity, hosts: ["n4.internal", "10.0.0.4", "0:0::1"], privateKeyPEM: key)
        let read = try CertificateRequest(der: made.bytes)
        #expect(read.identity == identity)
        #expect(read.hosts == ["n4.internal", "10.0.0.4", "::1"])
        #expect(read.keyDigest == made.keyDigest && read.keyDigest.count == 32)
        let authority = try authority()
        let pem = try authority.issue(read, validFor: day, now: today)
        let credentials = try TLSCredentials(
            certificatePEM: pem, privateKeyPEM: key, authorityPEM: try authority.certificatePEM, now: today)
        #expect(credentials.identity == identity)
        let summary = try #require(try CertificateSummary.read(pem: pem).first)
        #expect(summary.usages == ["server", "client"] && summary.dnsNames == ["n4.internal"])
        #expect(summary.ipAddresses == ["10.0.0.4", "::1"])
    }

    @Test func `a request changed in any byte is refused or says the same`() throws {
        let made = try CertificateRequest(for: identity, hosts: ["n4.internal"], privateKeyPEM: key)
        for position in made.bytes.indices {
            var changed = made.bytes
            changed[position] ^= 0x10
            guard let read = try? CertificateRequest(der: changed) else { continue }
            // The proof covers what matters.
            #expect(read.identity == made.identity && read.hosts == made.hosts && read.keyDigest == made.keyDigest)
        }
        for end in stride(from: 0, to: made.bytes.count, by: 3) {
            #expect(throws: IdentityError.self) { try CertificateRequest(der: Array(made.bytes[..<end])) }
        }
    }

    @Test func `an authority of another trust domain does not issue`() throws {
        let made = try CertificateRequest(for: identity, hosts: [], privateKeyPEM: key)
        let error = #expect(throws: IdentityError.self) {
            try authority("lab.example").issue(made, validFor: day, now: today)
        }
        #expect(error?.code == .invalidRequest)
    }

    @Test func `an authority is found among those that are trusted`() throws {
        let (first, second) = (try authority(), try authority())
        let trusted = try first.certificatePEM + second.certificatePEM
        let found = try CertificateAuthority(among: trusted, privateKeyPEM: try second.privateKeyPEM)
        #expect(try found.fingerprint == second.fingerprint)
        #expect(try found.fingerprint != first.fingerprint)
        #expect(throws: IdentityError.self) {
            try CertificateAuthority(
                among: try first.certificatePEM, privateKeyPEM: try second.privateKeyPEM)
        }
    }
}
