public import FoundationEssentials
internal import NIOCore
public import NIOSSL
internal import X509

/// What one process shows and demands in TLS: its certificate, its key and the authorities it trusts.
///
/// Every configuration made from it is TLS 1.3 only, mutual, with P-256 signatures. Replacing certificates means loading
/// new credentials and making new configurations; connections that stand keep the old ones.
public struct TLSCredentials: Sendable {
    /// Who the certificate says we are.
    public let identity: SPIFFEID
    public let notValidBefore: Date
    public let notValidAfter: Date
    public let trust: TrustBundle
    private let chain: [NIOSSLCertificate]
    private let privateKey: NIOSSLPrivateKey

    /// - Throws: ``IdentityError``; among the codes `keyMismatch` and, for a certificate that our own authorities would
    ///   refuse now, `untrusted`: better at start than at the first handshake.
    public init(
        certificatePEM: String, privateKeyPEM: String, authorityPEM: String, now: Date
    ) throws(IdentityError) {
        let certificates = try PEMParsing.certificates(certificatePEM)
        let leaf = certificates[0]
        guard try PEMParsing.privateKey(privateKeyPEM).publicKey == leaf.publicKey else {
            throw IdentityError(.keyMismatch, "the private key is not the one of the certificate")
        }
        trust = try TrustBundle(pem: authorityPEM)
        guard let text = leaf.uniformResourceIdentifiers.first, let identity = try? SPIFFEID(text) else {
            throw IdentityError(.untrusted, "the certificate carries no identity of ours")
        }
        do throws(CertificateRefusal) {
            self.identity = try trust.verify(leaf, as: .client, trustDomain: identity.trustDomain, now: now)
        } catch {
            throw IdentityError(.untrusted, "our own certificate is no good: \(error)")
        }
        notValidBefore = leaf.notValidBefore
        notValidAfter = leaf.notValidAfter
        do {
            chain = try NIOSSLCertificate.fromPEMBytes([UInt8](certificatePEM.utf8))
            privateKey = try NIOSSLPrivateKey(bytes: [UInt8](privateKeyPEM.utf8), format: .pem)
        } catch {
            throw IdentityError(.malformed, "the certificate or its key cannot be used: \(error)")
        }
    }

    /// Reads the three files.
    public init(
        certificateFile: String, privateKeyFile: String, authorityFile: String, now: Date
    ) throws(IdentityError) {
        try self.init(
            certificatePEM: try PEMFile.read(certificateFile), privateKeyPEM: try PEMFile.read(privateKeyFile),
            authorityPEM: try PEMFile.read(authorityFile), now: now)
    }

    /// For the accepting end of a link between nodes; to be used with ``verifier(of:now:decided:)``.
    public func peerServerConfiguration() -> TLSConfiguration { serverConfiguration(applicationProtocols: []) }

    /// For the dialling end of a link between nodes; to be used with ``verifier(of:now:decided:)``, because a node is
    /// known by its identity and not by a host name.
    public func peerClientConfiguration() -> TLSConfiguration {
        var configuration = clientConfiguration(applicationProtocols: [])
        configuration.certificateVerification = .noHostnameVerification
        return configuration
    }

    /// For the API port: clients must present a certificate of our authorities.
    ///
    /// The TLS library checks the chain; whoever accepts the connection reads the identity with
    /// ``identity(of:now:)``, or passes ``verifier(of:now:decided:)`` to have refusals with their reasons.
    ///
    /// - Parameters:
    ///   - applicationProtocols: for ALPN, the preferred one first.
    ///   - acceptsTLS12: for clients that speak nothing newer, with forward secrecy and authenticated encryption only.
    ///     What their certificates say is then readable on the way.
    public func apiServerConfiguration(
        applicationProtocols: [String], acceptsTLS12: Bool = false
    ) -> TLSConfiguration {
        var configuration = serverConfiguration(applicationProtocols: applicationProtocols)
        if acceptsTLS12 {
            configuration.minimumTLSVersion = .tlsv12
            configuration.cipherSuiteValues = [
                .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            ]
        }
        return configuration
    }

    /// For the port at which nodes without a certificate join: none is asked for, and the authority's own goes along, because
    /// they know its fingerprint alone.
    public func enrollmentServerConfiguration(
        authority: CertificateAuthority, applicationProtocols: [String]
    ) throws(IdentityError) -> TLSConfiguration {
        let sent: [NIOSSLCertificate]
        do {
            sent = try NIOSSLCertificate.fromPEMBytes([UInt8](try authority.certificatePEM.utf8))
        } catch {
            throw IdentityError(.malformed, "the authority's certificate cannot be used: \(error)")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: (chain + sent).map { .certificate($0) }, privateKey: .privateKey(privateKey))
        configuration.certificateVerification = .none
        restrict(&configuration, applicationProtocols)
        return configuration
    }

    /// Whether a host that knows the fingerprint of this authority and nothing else would trust us.
    public func isVouchedFor(by authority: CertificateAuthority, now: Date) -> Bool {
        guard let fingerprint = try? authority.fingerprint, let pem = try? authority.certificatePEM,
            let sent = try? NIOSSLCertificate.fromPEMBytes([UInt8](pem.utf8))
        else { return false }
        return (try? PinnedAuthority(fingerprint: fingerprint).verify(chain + sent, now: now)) != nil
    }

    /// For callers of the API: the chain and the server's host name (or IP address) are checked.
    public func apiClientConfiguration(applicationProtocols: [String]) -> TLSConfiguration {
        clientConfiguration(applicationProtocols: applicationProtocols)
    }

    /// A callback for `NIOSSLServerHandler` or `NIOSSLClientHandler` that judges the other end by ``TrustBundle``.
    ///
    /// - Parameters:
    ///   - purpose: `.client` when we accept the connection, `.server` when we made it.
    ///   - decided: called once per handshake, on its event loop, before the handshake goes on.
    public func verifier(
        of purpose: TrustBundle.Purpose, now: @escaping @Sendable () -> Date,
        decided: @escaping (Result<SPIFFEID, CertificateRefusal>) -> Void
    ) -> NIOSSLCustomVerificationCallback {
        let trust = trust
        let trustDomain = identity.trustDomain
        return { chain, promise in
            do throws(CertificateRefusal) {
                let identity = try trust.verify(chain, as: purpose, trustDomain: trustDomain, now: now())
                decided(.success(identity))
                promise.succeed(.certificateVerified)
            } catch {
                decided(.failure(error))
                promise.succeed(.failed)
            }
        }
    }

    /// The identity of a client whose handshake is complete; the whole judgement again, not a mere reading of the name.
    ///
    /// - Parameter certificate: `peerCertificate` of the handler; nil counts as ``CertificateRefusal/missing``.
    public func identity(
        of certificate: NIOSSLCertificate?, now: Date
    ) throws(CertificateRefusal) -> SPIFFEID {
        try trust.verify(certificate.map { [$0] } ?? [], as: .client, trustDomain: identity.trustDomain, now: now)
    }

    private func serverConfiguration(applicationProtocols: [String]) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(privateKey))
        configuration.certificateVerification = .noHostnameVerification
        restrict(&configuration, applicationProtocols)
        return configuration
    }

    private func clientConfiguration(applicationProtocols: [String]) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateChain = chain.map { .certificate($0) }
        configuration.privateKey = .privateKey(privateKey)
        restrict(&configuration, applicationProtocols)
        return configuration
    }

    private func restrict(_ configuration: inout TLSConfiguration, _ applicationProtocols: [String]) {
        configuration.minimumTLSVersion = .tlsv13
        configuration.trustRoots = .certificates(trust.anchors)
        configuration.verifySignatureAlgorithms = [.ecdsaSecp256R1Sha256]
        configuration.applicationProtocols = applicationProtocols
        // How long a closing end waits for the other's close_notify; a peer that is gone never sends one.
        configuration.shutdownTimeout = .seconds(1)
    }
}
