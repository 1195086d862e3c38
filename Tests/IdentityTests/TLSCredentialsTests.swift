import FoundationEssentials
import Identity
import NIOSSL
import Testing

@Suite struct TLSCredentialsTests {
    @Test func `credentials of one of our leaves are TLS 1.3 only and mutual`() throws {
        let authority = try authority()
        let node = try authority.issue(.node, name: "n1", hosts: ["localhost"], validFor: day, now: today)
        let loaded = try credentials(node, trusting: authority)
        #expect(loaded.identity == node.identity)
        #expect(loaded.notValidAfter == today + day)
        let server = loaded.apiServerConfiguration(applicationProtocols: ["h2", "http/1.1"])
        for configuration in [
            loaded.peerServerConfiguration(), loaded.peerClientConfiguration(), server,
            loaded.apiClientConfiguration(applicationProtocols: ["h2"]),
        ] {
            #expect(configuration.minimumTLSVersion == .tlsv13)
            #expect(configuration.certificateVerification != CertificateVerification.none)
            #expect(configuration.certificateChain.count == 1)
            _ = try NIOSSLContext(configuration: configuration)
        }
        #expect(server.applicationProtocols == ["h2", "http/1.1"])
        #expect(loaded.apiClientConfiguration(applicationProtocols: []).certificateVerification == .fullVerification)
        let older = loaded.apiServerConfiguration(applicationProtocols: ["h2"], acceptsTLS12: true)
        #expect(older.minimumTLSVersion == .tlsv12)
        #expect(older.certificateVerification == server.certificateVerification)
        _ = try NIOSSLContext(configuration: older)
    }

    @Test func `a key that is another certificate's is refused`() throws {
        let authority = try authority()
        let one = try authority.issue(.node, name: "n1", validFor: day, now: today)
        let two = try authority.issue(.node, name: "n1", validFor: day, now: today)
        let error = #expect(throws: IdentityError.self) {
            try TLSCredentials(
                certificatePEM: one.certificatePEM, privateKeyPEM: two.privateKeyPEM,
                authorityPEM: try authority.certificatePEM, now: today)
        }
        #expect(error?.code == .keyMismatch)
    }

    @Test func `our own certificate is judged at start`() throws {
        let (authority, other) = (try authority(), try authority())
        let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
        let expired = #expect(throws: IdentityError.self) {
            try credentials(node, trusting: authority, now: today + 2 * day)
        }
        #expect(expired?.code == .untrusted)
        let foreign = #expect(throws: IdentityError.self) { try credentials(node, trusting: other) }
        #expect(foreign?.code == .untrusted)
    }

    @Test(arguments: ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
    func `what is no certificate is refused as malformed`(text: String) throws {
        let authority = try authority()
        let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
        let error = #expect(throws: IdentityError.self) {
            try TLSCredentials(
                certificatePEM: text, privateKeyPEM: node.privateKeyPEM, authorityPEM: try authority.certificatePEM,
                now: today)
        }
        #expect(error?.code == .malformed)
    }

    @Test func `the identity of an accepted client is read with the whole judgement`() throws {
        let authority = try authority()
        let node = try credentials(
            try authority.issue(.node, name: "n1", validFor: day, now: today), trusting: authority)
        let client = try authority.issue(.client, name: "ops", validFor: day, now: today)
        let presented = try NIOSSLCertificate.fromPEMBytes([UInt8](client.certificatePEM.utf8)).first
        #expect(try node.identity(of: presented, now: today) == client.identity)
        #expect(throws: CertificateRefusal.missing) { try node.identity(of: nil, now: today) }
        #expect(throws: CertificateRefusal.expired(at: today + day)) {
            try node.identity(of: presented, now: today + 2 * day)
        }
    }
}
