internal import Crypto
internal import FoundationEssentials
internal import SwiftASN1
internal import X509

/// PEM text to certificates and keys and back, with errors an operator understands.
enum PEMParsing {
    static func certificate(_ text: String) throws(IdentityError) -> Certificate {
        let all = try certificates(text)
        guard all.count == 1 else { throw IdentityError(.malformed, "expected one certificate, found \(all.count)") }
        return all[0]
    }

    /// Every certificate of the text, in its order; at least one.
    static func certificates(_ text: String) throws(IdentityError) -> [Certificate] {
        let found: [Certificate]
        do {
            found = try PEMDocument.parseMultiple(pemString: text)
                .filter { $0.discriminator == Certificate.defaultPEMDiscriminator }
                .map { try Certificate(pemDocument: $0) }
        } catch {
            throw IdentityError(.malformed, "not a PEM certificate: \(error)")
        }
        guard !found.isEmpty else { throw IdentityError(.malformed, "no PEM certificate in the text") }
        return found
    }

    static func privateKey(_ text: String) throws(IdentityError) -> Certificate.PrivateKey {
        do {
            return try Certificate.PrivateKey(pemEncoded: text)
        } catch {
            // The cause may quote the text, and the text is a secret.
            throw IdentityError(.malformed, "not a PEM private key")
        }
    }

    static func text(of certificate: Certificate) throws(IdentityError) -> String {
        do {
            return try certificate.serializeAsPEM().pemString + "\n"
        } catch {
            throw IdentityError(.malformed, "the certificate cannot be written: \(error)")
        }
    }

    static func text(of key: Certificate.PrivateKey) throws(IdentityError) -> String {
        do {
            return try key.serializeAsPEM().pemString + "\n"
        } catch {
            throw IdentityError(.malformed, "the private key cannot be written")
        }
    }
}

extension Certificate {
    /// May sign other certificates: basic constraints say so, and key usage, if there, agrees (RFC 5280, 4.2.1.9).
    var isAuthority: Bool {
        guard case .isCertificateAuthority? = try? extensions.basicConstraints else { return false }
        guard let usage = extensions[oid: .X509ExtensionID.keyUsage] else { return true }
        return (try? KeyUsage(usage))?.keyCertSign ?? false
    }

    /// The trust domain of an authority of ours, which is the one URI in its certificate.
    var trustDomain: String? {
        let prefix = "spiffe://"
        let domains = uniformResourceIdentifiers.filter { $0.hasPrefix(prefix) }
        guard domains.count == 1, case let domain = String(domains[0].dropFirst(prefix.count)),
            SPIFFEID.isTrustDomain(domain)
        else { return nil }
        return domain
    }

    /// SHA-256 over the DER form.
    var fingerprint: [UInt8] {
        get throws(IdentityError) {
            do {
                var serializer = DER.Serializer()
                try serializer.serialize(self)
                return Array(SHA256.hash(data: serializer.serializedBytes))
            } catch {
                throw IdentityError(.malformed, "the certificate cannot be written: \(error)")
            }
        }
    }

    /// The URIs among the subject alternative names; none when the extension is missing or unreadable.
    var uniformResourceIdentifiers: [String] {
        guard let names = try? extensions.subjectAlternativeNames else { return [] }
        return names.compactMap { name in
            if case .uniformResourceIdentifier(let text) = name { text } else { nil }
        }
    }
}
