import Crypto
import FoundationEssentials
import Identity
import NIOSSL
import SwiftASN1
import Testing
import X509

@Suite struct TrustBundleTests {
    private func verdict(
        on issued: IssuedCertificate, by authority: CertificateAuthority, as purpose: TrustBundle.Purpose = .client,
        trustDomain: String = "esper.local", now: Date = today
    ) throws -> Result<SPIFFEID, CertificateRefusal> {
        try verdict(
            on: NIOSSLCertificate.fromPEMBytes([UInt8](issued.certificatePEM.utf8)), by: try authority.certificatePEM,
            as: purpose, trustDomain: trustDomain, now: now)
    }

    private func verdict(
        on chain: [NIOSSLCertificate], by pem: String, as purpose: TrustBundle.Purpose = .client,
        trustDomain: String = "esper.local", now: Date = today
    ) throws -> Result<SPIFFEID, CertificateRefusal> {
        let bundle = try TrustBundle(pem: pem)
        do throws(CertificateRefusal) {
            return .success(try bundle.verify(chain, as: purpose, trustDomain: trustDomain, now: now))
        } catch {
            return .failure(error)
        }
    }

    @Test func `a certificate of our authority is accepted at both ends`() throws {
        let authority = try authority()
        let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
        #expect(try verdict(on: node, by: authority, as: .server) == .success(node.identity))
        #expect(try verdict(on: node, by: authority, as: .client) == .success(node.identity))
    }

    @Test func `an authority with our name and another key is unknown`() throws {
        let (ours, theirs) = (try authority(), try authority())
        let node = try theirs.issue(.node, name: "n1", validFor: day, now: today)
        let refusal = try verdict(on: node, by: ours)
        guard case .failure(.unknownAuthority) = refusal else { Issue.record("\(refusal)"); return }
    }

    @Test func `a certificate is good from its first second to its last`() throws {
        let authority = try authority()
        let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
        let first = today - CertificateAuthority.clockAllowance
        let last = today + day
        #expect(try verdict(on: node, by: authority, now: first) == .success(node.identity))
        #expect(try verdict(on: node, by: authority, now: first - 1) == .failure(.notYetValid(from: first)))
        #expect(try verdict(on: node, by: authority, now: last) == .success(node.identity))
        #expect(try verdict(on: node, by: authority, now: last + 1) == .failure(.expired(at: last)))
    }

    @Test func `a client's certificate does not serve`() throws {
        let authority = try authority()
        let client = try authority.issue(.client, name: "ops", validFor: day, now: today)
        #expect(try verdict(on: client, by: authority, as: .server) == .failure(.wrongUsage))
        #expect(try verdict(on: client, by: authority, as: .client) == .success(client.identity))
    }

    @Test func `another trust domain is foreign`() throws {
        let authority = try authority("lab.example")
        let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
        #expect(try verdict(on: node, by: authority) == .failure(.foreignTrustDomain(node.identity)))
    }

    @Test func `no certificate at all is a reason of its own`() throws {
        #expect(try verdict(on: [], by: try authority().certificatePEM) == .failure(.missing))
    }

    @Test func `two authorities are trusted side by side while one replaces the other`() throws {
        let (old, new) = (try authority(), try authority())
        let both = try old.certificatePEM + new.certificatePEM
        for authority in [old, new] {
            let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
            let chain = try NIOSSLCertificate.fromPEMBytes([UInt8](node.certificatePEM.utf8))
            #expect(try verdict(on: chain, by: both) == .success(node.identity))
        }
    }

    /// Certificates that our authority would never issue, signed with its key all the same.
    private func forged(
        _ extensions: (_ key: Certificate.PublicKey) throws -> Certificate.Extensions
    ) throws -> Result<SPIFFEID, CertificateRefusal> {
        let authority = try authority()
        let issuer = try Certificate(pemEncoded: try authority.certificatePEM)
        let signer = try Certificate.PrivateKey(pemEncoded: try authority.privateKeyPEM)
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let leaf = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: today - 1,
            notValidAfter: today + 1, issuer: issuer.subject, subject: try DistinguishedName { CommonName("n1") },
            signatureAlgorithm: .ecdsaWithSHA256, extensions: try extensions(key.publicKey), issuerPrivateKey: signer)
        var serializer = DER.Serializer()
        try serializer.serialize(leaf)
        let presented = try NIOSSLCertificate(bytes: serializer.serializedBytes, format: .der)
        return try verdict(on: [presented], by: try authority.certificatePEM)
    }

    private let name = SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://esper.local/node/n1")])

    @Test func `an authority's certificate is no leaf`() throws {
        let refusal = try forged { _ in
            try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                try ExtendedKeyUsage([.clientAuth])
                name
            }
        }
        #expect(refusal == .failure(.wrongUsage))
    }

    @Test func `a certificate without a stated use is refused`() throws {
        #expect(try forged { _ in try Certificate.Extensions { name } } == .failure(.wrongUsage))
    }

    @Test func `a key that may not sign is refused`() throws {
        let refusal = try forged { _ in
            try Certificate.Extensions {
                Critical(KeyUsage(keyAgreement: true))
                try ExtendedKeyUsage([.clientAuth])
                name
            }
        }
        #expect(refusal == .failure(.wrongUsage))
    }

    @Test func `a critical extension that we do not know is refused`() throws {
        let refusal = try forged { _ in
            try Certificate.Extensions {
                try ExtendedKeyUsage([.clientAuth])
                name
                Certificate.Extension(oid: [1, 2, 3, 4], critical: true, value: [5, 0])
            }
        }
        #expect(refusal == .failure(.unsupportedExtension("1.2.3.4")))
    }

    @Test func `two identities are none`() throws {
        let refusal = try forged { _ in
            try Certificate.Extensions {
                try ExtendedKeyUsage([.clientAuth])
                SubjectAlternativeNames([
                    .uniformResourceIdentifier("spiffe://esper.local/node/n1"),
                    .uniformResourceIdentifier("spiffe://esper.local/node/n2"),
                ])
            }
        }
        #expect(refusal == .failure(.noIdentity(found: "2 URIs")))
    }

    @Test func `a name in the subject alone is no identity`() throws {
        let refusal = try forged { _ in
            try Certificate.Extensions { try ExtendedKeyUsage([.clientAuth]) }
        }
        #expect(refusal == .failure(.noIdentity(found: "0 URIs")))
    }

    /// The signed part stands at the front, after four bytes of outer header; what follows it is not signed.
    @Test func `a certificate with a bit flipped anywhere in its signed part is refused or does not parse`() throws {
        let authority = try authority()
        let node = try authority.issue(.node, name: "n1", validFor: day, now: today)
        let chain = try NIOSSLCertificate.fromPEMBytes([UInt8](node.certificatePEM.utf8))
        let bytes = try chain[0].toDERBytes()
        let bundle = try TrustBundle(pem: try authority.certificatePEM)
        let signedBytes = try Certificate(derEncoded: bytes).tbsCertificateBytes.count
        for position in 0..<4 + signedBytes {
            var flipped = bytes
            flipped[position] ^= 1
            guard let damaged = try? NIOSSLCertificate(bytes: flipped, format: .der) else { continue }
            #expect(throws: CertificateRefusal.self, "byte \(position)") {
                try bundle.verify([damaged], as: .client, trustDomain: "esper.local", now: today)
            }
        }
    }
}
