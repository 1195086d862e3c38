internal import Crypto
public import FoundationEssentials
internal import SwiftASN1
internal import X509

/// A cluster's private certificate authority: a P-256 key and a self-signed certificate for one trust domain.
///
/// It signs leaves only (path length 0): a node's or client's certificate is always issued directly by an authority
/// that its peers trust, which is what ``TrustBundle`` checks.
public struct CertificateAuthority: Sendable {
    /// The trust domain of every identity it issues; its certificate carries it as `spiffe://<trust-domain>`.
    public let trustDomain: String
    let certificate: Certificate
    let privateKey: Certificate.PrivateKey

    /// Certificates begin to be valid this long before they are issued, because clocks of hosts differ.
    public static let clockAllowance: TimeInterval = 300

    /// Makes a new key and certificate.
    ///
    /// - Throws: ``IdentityError`` with code `invalidRequest`.
    public init(newFor trustDomain: String, validFor period: TimeInterval, now: Date) throws(IdentityError) {
        guard SPIFFEID.isTrustDomain(trustDomain) else {
            throw IdentityError(.invalidRequest, "\(trustDomain) cannot be a trust domain")
        }
        guard period > 0 else { throw IdentityError(.invalidRequest, "a certificate cannot be valid for \(period) s") }
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        self.trustDomain = trustDomain
        privateKey = key
        certificate = try signing { () throws in
            let serial = Certificate.SerialNumber()
            let name = try DistinguishedName {
                OrganizationName("Esper")
                CommonName(String("\(trustDomain) authority \(serial.description.suffix(11))".suffix(64)))
            }
            return try Certificate(
                version: .v3, serialNumber: serial, publicKey: key.publicKey,
                notValidBefore: now - Self.clockAllowance, notValidAfter: now + period,
                issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                    Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                    SubjectKeyIdentifier(hash: key.publicKey)
                    SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://\(trustDomain)")])
                },
                issuerPrivateKey: key)
        }
    }

    /// Loads what ``certificatePEM`` and ``privateKeyPEM`` gave.
    ///
    /// - Throws: ``IdentityError`` with code `malformed`, `keyMismatch` or `untrusted` (not an authority's certificate).
    public init(certificatePEM: String, privateKeyPEM: String) throws(IdentityError) {
        try self.init(
            try PEMParsing.certificate(certificatePEM), privateKey: try PEMParsing.privateKey(privateKeyPEM))
    }

    /// Finds the certificate of the key among those that are trusted.
    ///
    /// - Throws: ``IdentityError`` with code `malformed`, `keyMismatch` (none of them is the key's) or `untrusted`.
    public init(among trustedPEM: String, privateKeyPEM: String) throws(IdentityError) {
        let key = try PEMParsing.privateKey(privateKeyPEM)
        guard let own = try PEMParsing.certificates(trustedPEM).first(where: { $0.publicKey == key.publicKey }) else {
            throw IdentityError(.keyMismatch, "the private key is not the one of any authority that is trusted")
        }
        try self.init(own, privateKey: key)
    }

    private init(_ certificate: Certificate, privateKey key: Certificate.PrivateKey) throws(IdentityError) {
        guard key.publicKey == certificate.publicKey else {
            throw IdentityError(.keyMismatch, "the private key is not the one of the authority's certificate")
        }
        guard certificate.isAuthority else {
            throw IdentityError(.untrusted, "the certificate is not an authority's: \(certificate.subject)")
        }
        guard let domain = certificate.trustDomain else {
            throw IdentityError(.untrusted, "the authority's certificate names no trust domain")
        }
        trustDomain = domain
        self.certificate = certificate
        privateKey = key
    }

    /// SHA-256 over the DER form of its certificate.
    public var fingerprint: [UInt8] {
        get throws(IdentityError) { try certificate.fingerprint }
    }

    public var certificatePEM: String {
        get throws(IdentityError) { try PEMParsing.text(of: certificate) }
    }

    /// Secret: whoever has it can speak as any node.
    public var privateKeyPEM: String {
        get throws(IdentityError) { try PEMParsing.text(of: privateKey) }
    }

    /// Makes a key and a certificate for it.
    ///
    /// A node's certificate serves both ends of a connection, a client's only the calling one. It never outlives the
    /// authority's own.
    ///
    /// - Parameter hosts: DNS names and IP addresses under which a node's API is reached; none for a client.
    /// - Throws: ``IdentityError`` with code `invalidRequest`.
    public func issue(
        _ role: SPIFFEID.Role, name: String, hosts: [String] = [], validFor period: TimeInterval, now: Date
    ) throws(IdentityError) -> IssuedCertificate {
        let identity: SPIFFEID
        do throws(SPIFFEID.ParseError) {
            identity = try SPIFFEID(trustDomain: trustDomain, role: role, name: name)
        } catch {
            throw IdentityError(.invalidRequest, "\(name) cannot be the name of a \(role.rawValue)")
        }
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let leaf = try makeLeaf(for: identity, key.publicKey, hosts: hosts, validFor: period, now: now)
        return IssuedCertificate(
            identity: identity, certificatePEM: try PEMParsing.text(of: leaf),
            privateKeyPEM: try PEMParsing.text(of: key))
    }

    /// Makes a certificate for a key that somebody else has. Whether they may have one is for the caller to judge.
    ///
    /// - Returns: the certificate as PEM.
    /// - Throws: ``IdentityError`` with code `invalidRequest`; also for an identity of another trust domain.
    public func issue(
        _ request: CertificateRequest, validFor period: TimeInterval, now: Date
    ) throws(IdentityError) -> String {
        guard request.identity.trustDomain == trustDomain else {
            throw IdentityError(.invalidRequest, "\(request.identity) is not of the trust domain \(trustDomain)")
        }
        let leaf = try makeLeaf(
            for: request.identity, request.publicKey, hosts: request.hosts, validFor: period, now: now)
        return try PEMParsing.text(of: leaf)
    }

    private func makeLeaf(
        for identity: SPIFFEID, _ key: Certificate.PublicKey, hosts: [String], validFor period: TimeInterval, now: Date
    ) throws(IdentityError) -> Certificate {
        guard period > 0, now < certificate.notValidAfter else {
            throw IdentityError(
                .invalidRequest, "cannot issue for \(period) s: the authority ends at \(certificate.notValidAfter)")
        }
        var names: [GeneralName] = [.uniformResourceIdentifier(identity.description)]
        for host in hosts { names.append(try Self.generalName(of: host)) }
        return try signing { () throws in
            try Certificate(
                version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key,
                notValidBefore: now - Self.clockAllowance, notValidAfter: min(now + period, certificate.notValidAfter),
                issuer: certificate.subject,
                subject: try DistinguishedName {
                    OrganizationName("Esper")
                    CommonName(identity.name)
                },
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                    try ExtendedKeyUsage(identity.role == .node ? [.serverAuth, .clientAuth] : [.clientAuth])
                    SubjectKeyIdentifier(hash: key)
                    AuthorityKeyIdentifier(
                        keyIdentifier: try certificate.extensions.subjectKeyIdentifier?.keyIdentifier)
                    SubjectAlternativeNames(names)
                },
                issuerPrivateKey: privateKey)
        }
    }

    static func generalName(of host: String) throws(IdentityError) -> GeneralName {
        if let address = IPAddressBytes.parse(host) { return .ipAddress(ASN1OctetString(contentBytes: address[...])) }
        let labels = host.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let plausible = labels.allSatisfy { label in
            (1...63).contains(label.count)
                && label.allSatisfy { byte in
                    byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
                        || byte < 0x80 && Character(UnicodeScalar(byte)).isLetter
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                }
        }
        guard plausible, host.utf8.count <= 253 else {
            throw IdentityError(.invalidRequest, "\(host) is neither a DNS name nor an IP address")
        }
        return .dnsName(host)
    }
}

/// A fresh leaf certificate and its key, both as PEM.
public struct IssuedCertificate: Sendable {
    public let identity: SPIFFEID
    public let certificatePEM: String
    /// Secret.
    public let privateKeyPEM: String

    /// Writes both files with mode 0600, the key first; see ``PEMFile/write(_:to:replacing:)``.
    ///
    /// A crash between the two leaves a pair that ``TLSCredentials`` refuses as a mismatch, never one that works wrongly.
    public func write(certificate: String, privateKey: String, replacing: Bool) throws(IdentityError) {
        try PEMFile.write(privateKeyPEM, to: privateKey, replacing: replacing)
        try PEMFile.write(certificatePEM, to: certificate, replacing: replacing)
    }
}

/// Making a certificate fails only when a part of it cannot be encoded; the caller asked for something impossible.
private func signing<Value>(_ body: () throws -> Value) throws(IdentityError) -> Value {
    do {
        return try body()
    } catch {
        throw IdentityError(.invalidRequest, "cannot make the certificate: \(error)")
    }
}
