internal import Crypto
internal import FoundationEssentials
internal import SwiftASN1
internal import X509

/// A request for a certificate (PKCS #10, RFC 2986): a public key, who it is for, and the proof that whoever asks has the
/// private key, which never leaves its host.
public struct CertificateRequest: Sendable {
    /// Who the certificate is to be for.
    public let identity: SPIFFEID
    /// DNS names and IP addresses it is to hold.
    public let hosts: [String]
    /// SHA-256 of the public key, as its SubjectPublicKeyInfo.
    public let keyDigest: [UInt8]
    /// The DER form.
    public let bytes: [UInt8]
    let publicKey: Certificate.PublicKey

    /// Makes a request.
    ///
    /// - Throws: ``IdentityError`` with code `invalidRequest` or `malformed`.
    public init(for identity: SPIFFEID, hosts: [String], privateKeyPEM: String) throws(IdentityError) {
        let key = try PEMParsing.privateKey(privateKeyPEM)
        var names: [GeneralName] = [.uniformResourceIdentifier(identity.description)]
        for host in hosts { names.append(try CertificateAuthority.generalName(of: host)) }
        do {
            let extensions = try Certificate.Extensions { SubjectAlternativeNames(names) }
            let request = try CertificateSigningRequest(
                version: .v1,
                subject: try DistinguishedName {
                    OrganizationName("Esper")
                    CommonName(identity.name)
                },
                privateKey: key,
                attributes: try CertificateSigningRequest.Attributes([
                    .init(ExtensionRequest(extensions: extensions))
                ]),
                signatureAlgorithm: .ecdsaWithSHA256)
            try self.init(request)
        } catch let error as IdentityError {
            throw error
        } catch {
            throw IdentityError(.invalidRequest, "cannot make the certificate request: \(error)")
        }
    }

    /// Reads a request from outside and checks its proof.
    ///
    /// - Throws: ``IdentityError``: `malformed`, or `untrusted` when the key is not P-256, the proof is wrong, or it does not
    ///   name exactly one identity of ours.
    public init(der bytes: [UInt8]) throws(IdentityError) {
        let request: CertificateSigningRequest
        do {
            request = try CertificateSigningRequest(derEncoded: bytes)
        } catch {
            throw IdentityError(.malformed, "the certificate request cannot be read")
        }
        try self.init(request)
    }

    /// An IP address in the one spelling that ``hosts`` has; a DNS name as it is.
    public static func spelled(host: String) -> String {
        IPAddressBytes.parse(host).map { IPAddressBytes.text($0) } ?? host
    }

    private init(_ request: CertificateSigningRequest) throws(IdentityError) {
        guard P256.Signing.PublicKey(request.publicKey) != nil else {
            throw IdentityError(.untrusted, "the certificate request is for another kind of key than P-256")
        }
        guard request.publicKey.isValidSignature(request.signature, for: request) else {
            throw IdentityError(.untrusted, "the certificate request does not prove that its key is there")
        }
        var uris: [String] = []
        var hosts: [String] = []
        for name in (try? request.attributes.extensionRequest?.extensions.subjectAlternativeNames).map({ Array($0) })
            ?? []
        {
            switch name {
            case .uniformResourceIdentifier(let text): uris.append(text)
            case .dnsName(let host): hosts.append(host)
            case .ipAddress(let octets): hosts.append(IPAddressBytes.text(octets.bytes))
            default: throw IdentityError(.untrusted, "the certificate request names \(name)")
            }
        }
        guard uris.count == 1, let identity = try? SPIFFEID(uris[0]) else {
            throw IdentityError(.untrusted, "the certificate request does not name one identity of ours")
        }
        self.identity = identity
        self.hosts = hosts
        publicKey = request.publicKey
        keyDigest = Array(SHA256.hash(data: request.publicKey.subjectPublicKeyInfoBytes))
        do {
            var serializer = DER.Serializer()
            try serializer.serialize(request)
            bytes = serializer.serializedBytes
        } catch {
            throw IdentityError(.malformed, "the certificate request cannot be written: \(error)")
        }
    }
}

/// Keys that are made where they are used.
public enum PrivateKey {
    /// A new P-256 key as PEM. Secret.
    public static func newPEM() throws(IdentityError) -> String {
        try PEMParsing.text(of: Certificate.PrivateKey(P256.Signing.PrivateKey()))
    }

    /// Whether the text is a private key of ours.
    ///
    /// - Throws: ``IdentityError`` with code `malformed`.
    public static func check(_ pem: String) throws(IdentityError) { _ = try PEMParsing.privateKey(pem) }
}
