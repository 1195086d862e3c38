public import Coordination
public import FoundationEssentials
public import Identity

/// What a node that has the authority's key decides when a member asks to be certified for longer. Asks and writes nothing.
public struct MemberCertification: Sendable {
    private let authority: CertificateAuthority
    private let trust: TrustBundle
    private let period: TimeInterval

    /// - Parameters:
    ///   - trusted: every authority that the cluster trusts.
    ///   - period: how long the certificates are valid.
    public init(authority: CertificateAuthority, trusted: TrustBundle, period: TimeInterval) {
        self.authority = authority
        trust = trusted
        self.period = period
    }

    /// What was issued, for the audit trail.
    public struct Issued: Sendable {
        public let certificatePEM: String
        public let serialNumber: String
        public let notValidAfter: Date
    }

    /// Certifies the key that a member has a certificate for, as ``Identity/CertificateAuthority`` checks it.
    ///
    /// - Parameters:
    ///   - name: who asks, by the certificate of the link that the request came by.
    ///   - members: those that there are now.
    /// - Throws: ``EnrollmentRefusal`` with code `not_a_member`, `wrong_request`, or `too_early`: what would be issued ends no
    ///   later than what is in force, because the period is shorter than what is left or the authority itself ends.
    public func certify(
        _ request: [UInt8], of presented: String, for name: String, among members: MemberTable, now: Date
    ) throws(EnrollmentRefusal) -> Issued {
        guard members.record(named: name)?.isEnrolled == true else {
            throw EnrollmentRefusal(
                code: "not_a_member", message: "\(name) is no member of the cluster", isRetryable: false)
        }
        let issued: Issued
        let end: Date
        do {
            let pem = try authority.renew(
                try CertificateRequest(der: request), of: presented, trustedBy: trust,
                as: try SPIFFEID(trustDomain: authority.trustDomain, role: .node, name: name), validFor: period,
                now: now)
            let summary = try CertificateSummary.read(pem: pem)[0]
            issued = Issued(
                certificatePEM: pem, serialNumber: summary.serialNumber, notValidAfter: summary.notValidAfter)
            end = try CertificateSummary.read(pem: presented)[0].notValidAfter
        } catch {
            throw EnrollmentRefusal(code: "wrong_request", message: "\(error)", isRetryable: false)
        }
        guard issued.notValidAfter > end else {
            throw EnrollmentRefusal(
                code: "too_early",
                message: "a certificate from here would end at \(issued.notValidAfter), the one in force at \(end)",
                isRetryable: true)
        }
        return issued
    }
}
