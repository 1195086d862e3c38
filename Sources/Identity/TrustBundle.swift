public import FoundationEssentials
public import NIOSSL
internal import SwiftASN1
internal import X509

/// The authorities whose certificates we accept, and the whole judgement over a certificate that a peer presents.
///
/// The judgement is ours, not the TLS library's, because a refusal has to name its reason to the operator and to the
/// metrics. It is narrow: a leaf issued *directly* by one of the authorities; no intermediates, no names in the
/// subject, nothing critical that it does not know. Possession of the private key is proved by TLS 1.3 itself.
/// Source: RFC 5280 section 6.1 for a path of length one; X.509-SVID sections 3 to 5.
public struct TrustBundle: Sendable {
    /// The end of the connection that presents the certificate.
    public enum Purpose: Hashable, Sendable {
        case server
        case client
    }

    let authorities: [Certificate]
    let anchors: [NIOSSLCertificate]

    /// - Parameter pem: one authority, or several while a new one is being introduced.
    /// - Throws: ``IdentityError`` with code `malformed`, or `untrusted` when one is not an authority's certificate.
    public init(pem: String) throws(IdentityError) {
        authorities = try PEMParsing.certificates(pem)
        for authority in authorities where !authority.isAuthority {
            throw IdentityError(.untrusted, "the certificate is not an authority's: \(authority.subject)")
        }
        do {
            anchors = try NIOSSLCertificate.fromPEMBytes([UInt8](pem.utf8))
        } catch {
            throw IdentityError(.malformed, "the authority's certificate cannot be used: \(error)")
        }
    }

    /// Judges the chain a peer presented and reads its identity from the leaf.
    ///
    /// - Parameter chain: in the order of the handshake, the leaf first; the rest is ignored.
    /// - Throws: the first reason to refuse it, in the order of the cases of ``CertificateRefusal``.
    public func verify(
        _ chain: [NIOSSLCertificate], as purpose: Purpose, trustDomain: String, now: Date
    ) throws(CertificateRefusal) -> SPIFFEID {
        guard let presented = chain.first else { throw .missing }
        guard let bytes = try? presented.toDERBytes(), let leaf = try? Certificate(derEncoded: bytes) else {
            throw .malformed
        }
        return try verify(leaf, as: purpose, trustDomain: trustDomain, now: now)
    }

    func verify(
        _ leaf: Certificate, as purpose: Purpose, trustDomain: String, now: Date
    ) throws(CertificateRefusal) -> SPIFFEID {
        guard leaf.version == .v3 else { throw .malformed }
        let issuer = authorities.first {
            $0.subject == leaf.issuer && $0.publicKey.isValidSignature(leaf.signature, for: leaf)
        }
        guard let issuer else { throw .unknownAuthority(issuer: leaf.issuer.description) }
        guard now >= leaf.notValidBefore else { throw .notYetValid(from: leaf.notValidBefore) }
        guard now <= leaf.notValidAfter else { throw .expired(at: leaf.notValidAfter) }
        guard now >= issuer.notValidBefore, now <= issuer.notValidAfter else {
            throw .authorityExpired(at: issuer.notValidAfter)
        }
        try checkUsage(of: leaf, as: purpose)
        return try identity(of: leaf, trustDomain: trustDomain)
    }

    private func checkUsage(of leaf: Certificate, as purpose: Purpose) throws(CertificateRefusal) {
        for part in leaf.extensions where part.critical && !Self.knownExtensions.contains(part.oid) {
            throw .unsupportedExtension(part.oid.description)
        }
        let extensions = leaf.extensions
        if extensions[oid: .X509ExtensionID.basicConstraints] != nil {
            guard case .notCertificateAuthority? = try? extensions.basicConstraints else { throw .wrongUsage }
        }
        if extensions[oid: .X509ExtensionID.keyUsage] != nil {
            guard let usage = try? extensions.keyUsage, usage.digitalSignature else { throw .wrongUsage }
        }
        guard let usages = try? extensions.extendedKeyUsage else { throw .wrongUsage }
        guard usages.contains(purpose == .server ? .serverAuth : .clientAuth) else { throw .wrongUsage }
    }

    private func identity(of leaf: Certificate, trustDomain: String) throws(CertificateRefusal) -> SPIFFEID {
        let texts = leaf.uniformResourceIdentifiers
        guard texts.count == 1, let identity = try? SPIFFEID(texts[0]) else {
            throw .noIdentity(found: texts.count == 1 ? String(texts[0].prefix(128)) : "\(texts.count) URIs")
        }
        guard identity.trustDomain == trustDomain else { throw .foreignTrustDomain(identity) }
        return identity
    }

    private static let knownExtensions: [ASN1ObjectIdentifier] = [
        .X509ExtensionID.basicConstraints, .X509ExtensionID.keyUsage, .X509ExtensionID.extendedKeyUsage,
        .X509ExtensionID.subjectAlternativeName,
    ]
}

/// Why a certificate was refused, in the order in which it is judged.
public enum CertificateRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case missing
    case malformed
    case unknownAuthority(issuer: String)
    case notYetValid(from: Date)
    case expired(at: Date)
    case authorityExpired(at: Date)
    case unsupportedExtension(String)
    case wrongUsage
    case noIdentity(found: String)
    case foreignTrustDomain(SPIFFEID)

    /// One word from a small fixed set, for metrics.
    public var reason: String {
        switch self {
        case .missing: "no_certificate"
        case .malformed: "malformed_certificate"
        case .unknownAuthority: "unknown_authority"
        case .notYetValid: "not_yet_valid"
        case .expired: "expired"
        case .authorityExpired: "authority_expired"
        case .unsupportedExtension: "unsupported_extension"
        case .wrongUsage: "wrong_usage"
        case .noIdentity: "no_identity"
        case .foreignTrustDomain: "foreign_trust_domain"
        }
    }

    public var description: String {
        switch self {
        case .missing: "no certificate was presented"
        case .malformed: "the certificate cannot be read"
        case .unknownAuthority(let issuer): "issued by an authority we do not trust: \(issuer)"
        case .notYetValid(let date): "not valid before \(date)"
        case .expired(let date): "expired at \(date)"
        case .authorityExpired(let date): "its authority expired at \(date)"
        case .unsupportedExtension(let identifier): "has the critical extension \(identifier), which we do not know"
        case .wrongUsage: "may not be used for this end of a connection"
        case .noIdentity(let found): "carries no identity of ours: \(found)"
        case .foreignTrustDomain(let identity): "belongs to another trust domain: \(identity)"
        }
    }
}
