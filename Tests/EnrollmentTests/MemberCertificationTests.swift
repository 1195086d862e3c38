import Coordination
import Enrollment
import EsperTypes
import FoundationEssentials
import Identity
import Testing

/// Who is certified for longer by a node that has the authority's key.
@Suite struct MemberCertificationTests {
    private let authority: CertificateAuthority
    private let issued: IssuedCertificate
    private let day: TimeInterval = 86_400

    init() throws {
        authority = try CertificateAuthority(newFor: "esper.local", validFor: 100 * day, now: today)
        issued = try authority.issue(.node, name: "n1", hosts: ["n1.internal"], validFor: 9 * day, now: today)
    }

    private func table(isEnrolled: Bool = true) throws -> MemberTable {
        var writer = ByteWriter()
        writer.write(NodeID(2))
        writer.write(LogIndex(1))
        let record = MemberRecord(
            id: NodeID(1), name: "n1", peer: HostPort(host: "n1.internal", port: 1),
            api: HostPort(host: "n1.internal", port: 2), isEnrolled: isEnrolled)
        writer.write(array: [record]) { $1.encode(into: &$0) }
        return try MemberTable(decoding: writer.bytes)
    }

    private func certify(
        as name: String = "n1", among members: MemberTable, period: TimeInterval = 9 * 86_400, at moment: Date
    ) throws -> MemberCertification.Issued {
        let decision = MemberCertification(
            authority: authority, trusted: try TrustBundle(pem: authority.certificatePEM), period: period)
        let request = try CertificateRequest(
            for: issued.identity, hosts: ["n1.internal"], privateKeyPEM: issued.privateKeyPEM)
        return try decision.certify(
            request.bytes, of: issued.certificatePEM, for: name, among: members, now: moment)
    }

    @Test func `a member is certified until the period has passed`() throws {
        let new = try certify(among: try table(), at: today + 7 * day)
        #expect(new.notValidAfter == today + 16 * day)
        #expect(try CertificateSummary.read(pem: new.certificatePEM)[0].serialNumber == new.serialNumber)
    }

    @Test func `one that was removed, was never taken in, or is another is refused, and so is one that has expired`()
        throws
    {
        for (code, attempt) in [
            ("not_a_member", { try certify(among: MemberTable(), at: today) }),
            ("not_a_member", { try certify(among: try table(isEnrolled: false), at: today) }),
            ("not_a_member", { try certify(as: "n2", among: try table(), at: today) }),
            ("wrong_request", { try certify(among: try table(), at: today + 9 * day + 1) }),
            ("too_early", { try certify(among: try table(), period: day, at: today) }),
        ] as [(String, () throws -> MemberCertification.Issued)] {
            let refusal = #expect(throws: EnrollmentRefusal.self) { try attempt() }
            #expect(refusal?.code == code, "\(refusal?.message ?? "granted")")
        }
    }

    @Test func `who cannot get a later end than the authority's is told so`() throws {
        let late = try authority.issue(.node, name: "n1", validFor: 200 * day, now: today)
        let decision = MemberCertification(
            authority: authority, trusted: try TrustBundle(pem: authority.certificatePEM), period: 90 * day)
        let request = try CertificateRequest(for: late.identity, hosts: [], privateKeyPEM: late.privateKeyPEM)
        let refusal = try #require(
            #expect(throws: EnrollmentRefusal.self) {
                try decision.certify(
                    request.bytes, of: late.certificatePEM, for: "n1", among: try table(), now: today + 90 * day)
            })
        #expect(refusal.code == "too_early")
    }
}
