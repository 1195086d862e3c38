public import FoundationEssentials
internal import SwiftASN1
internal import X509

/// What a certificate says, for people and for `esper pki inspect`. Nothing here is verified.
public struct CertificateSummary: Hashable, Sendable {
    /// The identity, when the certificate has exactly one URI and that is one of ours.
    public let identity: SPIFFEID?
    public let subject: String
    public let issuer: String
    /// Hexadecimal, colons between bytes.
    public let serialNumber: String
    public let notValidBefore: Date
    public let notValidAfter: Date
    public let isAuthority: Bool
    public let dnsNames: [String]
    public let ipAddresses: [String]
    public let uris: [String]
    /// `server`, `client`, or dotted numbers for uses that we have no word for.
    public let usages: [String]
    /// SHA-256 over the DER form, hexadecimal.
    public let fingerprint: String

    /// One summary per certificate of the text, in its order.
    public static func read(pem: String) throws(IdentityError) -> [CertificateSummary] {
        var summaries: [CertificateSummary] = []
        for certificate in try PEMParsing.certificates(pem) { summaries.append(try CertificateSummary(certificate)) }
        return summaries
    }

    init(_ certificate: Certificate) throws(IdentityError) {
        let uris = certificate.uniformResourceIdentifiers
        identity = uris.count == 1 ? try? SPIFFEID(uris[0]) : nil
        subject = certificate.subject.description
        issuer = certificate.issuer.description
        serialNumber = certificate.serialNumber.bytes.map(Self.hexadecimal).joined(separator: ":")
        notValidBefore = certificate.notValidBefore
        notValidAfter = certificate.notValidAfter
        isAuthority = certificate.isAuthority
        self.uris = uris
        let names = (try? certificate.extensions.subjectAlternativeNames).map { Array($0) } ?? []
        dnsNames = names.compactMap { if case .dnsName(let name) = $0 { name } else { nil } }
        ipAddresses = names.compactMap { name in
            if case .ipAddress(let octets) = name { IPAddressBytes.text(octets.bytes) } else { nil }
        }
        usages = ((try? certificate.extensions.extendedKeyUsage).map { Array($0) } ?? []).map { usage in
            switch usage {
            case .serverAuth: "server"
            case .clientAuth: "client"
            default: "\(usage)"
            }
        }
        fingerprint = try certificate.fingerprint.map(Self.hexadecimal).joined()
    }

    private static func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
}
