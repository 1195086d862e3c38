import FoundationEssentials
import Identity

/// A fixed moment, so that no test depends on the day it runs.
let today = Date(timeIntervalSince1970: 1_800_000_000)
let day: TimeInterval = 86_400

func authority(_ trustDomain: String = "esper.local") throws -> CertificateAuthority {
    try CertificateAuthority(newFor: trustDomain, validFor: 100 * day, now: today)
}

func credentials(
    _ issued: IssuedCertificate, trusting authority: CertificateAuthority, now: Date = today
) throws -> TLSCredentials {
    try TLSCredentials(
        certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM,
        authorityPEM: try authority.certificatePEM, now: now)
}
