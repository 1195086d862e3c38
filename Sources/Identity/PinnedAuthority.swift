internal import Crypto
public import FoundationEssentials
internal import NIOCore
public import NIOSSL
internal import SwiftASN1
internal import X509

/// An authority of which nothing is known but the fingerprint of its certificate: what a node goes by before it has any.
public struct PinnedAuthority: Sendable {
    /// SHA-256 over the DER form of the authority's certificate.
    public let fingerprint: [UInt8]

    public init(fingerprint: [UInt8]) { self.fingerprint = fingerprint }

    /// Whom the far end's chain leads to.
    public struct Server: Sendable {
        /// The node that answers.
        public let identity: SPIFFEID
        /// The pinned authority, now known.
        public let authorityPEM: String
    }

    /// Judges a chain in which the far end has sent its authority along.
    ///
    /// - Throws: ``CertificateRefusal``; `unknownAuthority` when the pinned one is not in the chain or did not issue the leaf,
    ///   `wrongUsage` when the leaf is no node's.
    public func verify(_ chain: [NIOSSLCertificate], now: Date) throws(CertificateRefusal) -> Server {
        guard !chain.isEmpty else { throw .missing }
        var authority: Certificate?
        for presented in chain.dropFirst().prefix(Self.maximumChain) {
            guard let bytes = try? presented.toDERBytes() else { throw .malformed }
            if Array(SHA256.hash(data: bytes)) == fingerprint { authority = try? Certificate(derEncoded: bytes) }
        }
        guard let authority, let pem = try? PEMParsing.text(of: authority), let bundle = try? TrustBundle(pem: pem),
            let domain = authority.trustDomain
        else { throw .unknownAuthority(issuer: Self.issuer(of: chain[0])) }
        let identity = try bundle.verify(chain, as: .server, trustDomain: domain, now: now)
        guard identity.role == .node else { throw .wrongUsage }
        return Server(identity: identity, authorityPEM: pem)
    }

    /// More certificates than any of our nodes sends along are not looked at.
    private static let maximumChain = 8

    private static func issuer(of leaf: NIOSSLCertificate) -> String {
        guard let bytes = try? leaf.toDERBytes(), let certificate = try? Certificate(derEncoded: bytes) else {
            return "unreadable"
        }
        return certificate.issuer.description
    }
}

extension TLSConfiguration {
    /// For a node that has no certificate yet; to be used with a callback that asks ``PinnedAuthority``.
    public static func joining(applicationProtocols: [String]) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv13
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates([])
        configuration.verifySignatureAlgorithms = [.ecdsaSecp256R1Sha256]
        configuration.applicationProtocols = applicationProtocols
        configuration.shutdownTimeout = .seconds(1)
        return configuration
    }
}
