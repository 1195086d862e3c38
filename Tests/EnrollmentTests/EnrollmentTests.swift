import Coordination
import Enrollment
import EsperTypes
import FoundationEssentials
import Identity
import TestSupport
import Testing

/// The enrolment port and those who ask there, over real TLS.
@Suite(.timeLimit(.minutes(1)))
struct EnrollmentTests {
    @Test func `a host that shows a token gets a certificate for its own key`() async throws {
        try await TestPort.run { port in
            let outcome = try await port.enroll(by: try port.token())
            #expect(outcome.identity == (try SPIFFEID("spiffe://esper.local/node/n4")))
            #expect(outcome.enrolled.node == NodeID(4))
            #expect(outcome.enrolled.members.map(\.name) == ["n1"])
            let summary = try #require(try CertificateSummary.read(pem: outcome.enrolled.certificatePEM).first)
            #expect(summary.dnsNames == ["node4.internal"] && summary.ipAddresses == ["127.0.0.1"])
            let asked = try #require(port.asked.first)
            #expect(asked.member == TestPort.member && asked.token == JoinTokenID(0xa1))
            #expect(asked.secret == (0..<32).map { UInt8($0) })
        }
    }

    @Test func `a server of another authority is told nothing`() async throws {
        try await TestPort.run { port in
            let token = try port.token(fingerprint: [UInt8](repeating: 7, count: 32))
            let refusal = await #expect(throws: EnrollmentRefusal.self) { _ = try await port.enroll(by: token) }
            #expect(refusal?.code == "untrusted")
            #expect(refusal?.message.contains("not of the authority that the token names") == true)
            #expect(port.asked.isEmpty)
        }
    }

    @Test func `a client's certificate is no node's, whoever signed it`() throws {
        let authority = try CertificateAuthority(newFor: "esper.local", validFor: 1000, now: today)
        let other = try CertificateAuthority(newFor: "esper.local", validFor: 1000, now: today)
        let pinned = PinnedAuthority(fingerprint: try authority.fingerprint)
        func chain(_ role: SPIFFEID.Role, _ issuer: CertificateAuthority, with sent: CertificateAuthority) throws
            -> String
        {
            try issuer.issue(role, name: "x", validFor: 10, now: today).certificatePEM + sent.certificatePEM
        }
        #expect(try pinned.verify(pem: try chain(.node, authority, with: authority), now: today) == "x")
        for refused in [
            try chain(.client, authority, with: authority), try chain(.node, other, with: authority),
            try chain(.node, authority, with: other),
        ] {
            #expect(throws: CertificateRefusal.self) { try pinned.verify(pem: refused, now: today) }
        }
        let late = today + 11
        #expect(throws: CertificateRefusal.self) {
            try pinned.verify(pem: try chain(.node, authority, with: authority), now: late)
        }
    }

    @Test func `a token that has expired is not even shown`() async throws {
        try await TestPort.run { port in
            let refusal = await #expect(throws: EnrollmentRefusal.self) {
                _ = try await port.enroll(by: try port.token(expires: 1_799_999_999))
            }
            #expect(refusal?.code == "token_expired")
            #expect(port.asked.isEmpty)
        }
    }

    @Test func `an endpoint that does not answer is passed over, one that refuses has decided`() async throws {
        let free = try FreePorts.take(1)[0]
        try await TestPort.run { port in
            let outcome = try await port.enroll(by: try port.token(ports: [free, port.number]))
            #expect(outcome.enrolled.node == NodeID(4))
            let nobody = await #expect(throws: EnrollmentRefusal.self) {
                _ = try await port.enroll(by: try port.token(ports: [free]))
            }
            #expect(nobody?.code == "unreachable" && nobody?.message.contains("127.0.0.1:\(free)") == true)
        }
        try await TestPort.run { _, _ in
            .refused(EnrollmentRefusal(code: "token_used", message: "used up", isRetryable: false))
        } _: { port in
            let refusal = await #expect(throws: EnrollmentRefusal.self) {
                _ = try await port.enroll(by: try port.token(ports: [port.number, port.number]))
            }
            #expect(refusal?.code == "token_used" && port.asked.count == 1)
        }
    }

    @Test func `a certificate for another name, or for another cluster, is not taken`() async throws {
        try await TestPort.run { request, authority in
            let key = try PrivateKey.newPEM()
            let other = try CertificateRequest(
                for: SPIFFEID(trustDomain: "esper.local", role: .node, name: "n9"), hosts: [], privateKeyPEM: key)
            return try TestPort.certify(
                EnrollmentRequest(
                    cluster: request.cluster, token: request.token, secret: request.secret, member: request.member,
                    certificateRequest: other.bytes), authority)
        } _: { port in
            let refusal = await #expect(throws: EnrollmentRefusal.self) {
                _ = try await port.enroll(by: try port.token())
            }
            #expect(refusal?.code == "untrusted")
        }
        try await TestPort.run { request, authority in
            guard case .enrolled(var enrolled) = try TestPort.certify(request, authority) else { throw Unexpected() }
            enrolled.cluster = ClusterID(0xc2)
            return .enrolled(enrolled)
        } _: { port in
            let refusal = await #expect(throws: EnrollmentRefusal.self) {
                _ = try await port.enroll(by: try port.token())
            }
            #expect(refusal?.message.contains("00000000000000c2") == true)
        }
    }

    @Test func `what is no request is refused, closed and decided by nobody`() async throws {
        try await TestPort.run { port in
            for (bytes, says) in [
                ([1, 0, 0, 0, 9], "cannot be read"), ([0, 0, 0, 0], "cannot be read"),
                ([0xff, 0xff, 0xff, 0xff], "larger than"), ([2, 0, 0, 0, 1, 2], "cannot be read"),
                ([1, 0, 0, 0, 1, 1], "cannot be read"), (Array("GET / HTTP/1.1\r\n\r\n".utf8), "larger than"),
            ] as [([UInt8], String)] {
                let answer = try await port.say(bytes)
                #expect(String(decoding: answer, as: UTF8.self).contains(says), "\(bytes): \(answer)")
            }
            // Without TLS, or with another protocol, there is no answer to read.
            let plain = try await port.say(Array("GET / HTTP/1.1\r\n\r\n".utf8), tls: false)
            #expect(!String(decoding: plain, as: UTF8.self).contains("esper"))
            #expect(try await port.say([], protocols: ["h2"]).isEmpty)
            #expect(port.asked.isEmpty)
            #expect(try await port.enroll(by: try port.token()).enrolled.node == NodeID(4))
        }
    }

    @Test func `connections that say nothing make room for one that asks`() async throws {
        try await TestPort.run { port in
            let silent = try (0..<2 * EnrollmentListener.maximumConnections).map { _ in
                try SilentConnection(port: port.number)
            }
            #expect(try await port.enroll(by: try port.token()).enrolled.node == NodeID(4))
            withExtendedLifetime(silent) {}
        }
    }

    private struct Unexpected: Error {}
}
