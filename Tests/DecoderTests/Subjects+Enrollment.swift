import Coordination
import Enrollment
import EsperTypes
import FoundationEssentials
import Identity

// What comes to the enrolment port, and back from it.
extension Subject {
    static let enrollmentRequests = Subject(
        "enrolment requests", .canonical,
        samples: [
            body(
                EnrollmentFrame.encoded(
                    EnrollmentRequest(
                        cluster: ClusterID(0xc1), token: JoinTokenID(7), secret: [UInt8](repeating: 3, count: 32),
                        member: NewMember(
                            name: "n4", peer: HostPort(host: "10.0.0.4", port: 7400),
                            api: HostPort(host: "n4.internal", port: 7401), zone: "east"),
                        certificateRequest: [0x30, 0x03, 1, 2, 3])))
        ]
    ) { bytes in (try? EnrollmentFrame.request(bytes)).map { body(EnrollmentFrame.encoded($0)) } }

    static let enrollmentAnswers = Subject(
        "enrolment answers", .canonical,
        samples: [
            body(
                EnrollmentFrame.encoded(
                    EnrollmentAnswer.enrolled(
                        Enrolled(
                            cluster: ClusterID(0xc1), node: NodeID(4), authoritiesPEM: "authorities",
                            certificatePEM: "certificate",
                            members: [
                                MemberRecord(
                                    id: NodeID(1), name: "n1", peer: HostPort(host: "::1", port: 7400),
                                    api: HostPort(host: "h", port: 7401), isEnrolled: true,
                                    incarnation: Incarnation(5))
                            ])))),
            body(
                EnrollmentFrame.encoded(
                    EnrollmentAnswer.refused(
                        EnrollmentRefusal(code: "token_used", message: "the join token is used up", isRetryable: false))
                )),
        ]
    ) { bytes in (try? EnrollmentFrame.answer(bytes)).map { body(EnrollmentFrame.encoded($0)) } }

    static let joinTokens = Subject(
        "join tokens", .stable,
        texts: [
            JoinToken(
                id: JoinTokenID(7), secret: [UInt8](repeating: 3, count: 32),
                authorityFingerprint: [UInt8](repeating: 4, count: 32), cluster: ClusterID(0xc1), expires: 5,
                endpoints: [HostPort(host: "10.0.0.1", port: 7403)]
            ).text
        ]
    ) { (try? JoinToken($0))?.text }

    /// Its proof fails after most mutations; what matters is that none traps.
    static let certificateRequests = Subject(
        "certificate requests", .stable,
        samples: [
            Data(
                base64Encoded: """
                    MIIBJTCBzAIBADAdMQ4wDAYDVQQKDAVFc3BlcjELMAkGA1UEAwwCbjQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQQz3MxH1qc\
                    gEN/Cr9jR10tJh8jYgp4+6fNYfC4LmiifUosLMRSYkPN3FkOKG4LBtnkrQEYMUWkTQutwQp3aPjCoE0wSwYJKoZIhvcNAQkOMT4w\
                    PDA6BgNVHREEMzAxhhxzcGlmZmU6Ly9lc3Blci5sb2NhbC9ub2RlL240ggtuNC5pbnRlcm5hbIcECgAABDAKBggqhkjOPQQDAgNI\
                    ADBFAiA07G230WpHZIvfz6qxLKzhDI9oBkM/INS9KvC4vlR8+QIhAMH4O/mJ7j9E00uKrsqDiNomvQ6d09w/fbtwr7F3RljL
                    """
            ).map { [UInt8]($0) } ?? []
        ], share: 0.1
    ) { bytes in (try? CertificateRequest(der: bytes))?.bytes }

    /// What a member shows when it asks for the next one: DER behind PEM, judged by an authority that issued the samples.
    static let shownCertificates = Subject(
        "certificates that are to be renewed", .total, samples: Renewal.samples, share: 0.05
    ) { bytes in
        let pem = """
            -----BEGIN CERTIFICATE-----
            \(Data(bytes).base64EncodedString(options: .lineLength64Characters))
            -----END CERTIFICATE-----

            """
        // Almost everything that can be read is refused, because it is signed.
        _ = Renewal.one?.isRenewed(pem)
        return (try? CertificateSummary.read(pem: pem)) == nil ? nil : bytes
    }

    private struct Renewal: Sendable {
        static let one = try? Renewal()
        static let samples = one.map { [$0.certificate] } ?? []

        let authority: CertificateAuthority
        let trust: TrustBundle
        let certificate: [UInt8]
        let request: CertificateRequest
        let moment = Date(timeIntervalSince1970: 1_800_000_000)

        init() throws {
            authority = try CertificateAuthority(newFor: "esper.local", validFor: 1000, now: moment)
            trust = try TrustBundle(pem: authority.certificatePEM)
            let issued = try authority.issue(.node, name: "n4", hosts: ["n4.internal"], validFor: 100, now: moment)
            let lines = issued.certificatePEM.split(separator: "\n").filter { !$0.hasPrefix("-----") }
            certificate = Data(base64Encoded: lines.joined()).map { [UInt8]($0) } ?? []
            request = try CertificateRequest(
                for: issued.identity, hosts: ["n4.internal"], privateKeyPEM: issued.privateKeyPEM)
        }

        func isRenewed(_ pem: String) -> Bool {
            (try? authority.renew(
                request, of: pem, trustedBy: trust, as: request.identity, validFor: 100, now: moment)) != nil
        }
    }

    private static func body(_ frame: [UInt8]) -> [UInt8] { Array(frame.dropFirst(EnrollmentFrame.headerBytes)) }
}
