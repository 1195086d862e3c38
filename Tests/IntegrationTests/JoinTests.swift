import ClusterSupport
import Coordination
import Enrollment
import EsperClient
import EsperTypes
import Foundation
import Glibc
import Identity
import NIOSSL
import TestSupport
import Testing

/// Hosts join a running cluster by tokens: real processes, the command as people use it, and strangers at the port.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct JoinTests {
    private func esper(_ cluster: LocalCluster, _ arguments: [String]) async throws -> EsperProgram.Result {
        try await EsperProgram(arguments, in: cluster.root, environment: ["ESPER_CONFIG": cluster.clientFile]).result()
    }

    private func token(_ cluster: LocalCluster, _ options: String...) async throws -> JoinToken {
        let made = try await esper(cluster, ["cluster", "token", "create"] + options)
        #expect(made.code == 0, "\(made.errors)")
        return try JoinToken(made.output)
    }

    private func withClient<Value>(
        _ cluster: LocalCluster, _ body: (EsperClient) async throws -> Value
    ) async throws -> Value {
        let client = try EsperClient(settingsFile: cluster.clientFile, options: ClientOptions())
        defer { client.close() }
        try await until("a first write") { (try? await client.put(Array("key".utf8), Array("value".utf8))) != nil }
        return try await body(client)
    }

    @Test func `a host joins with one command and a token, votes, and the token is spent`() async throws {
        try await LocalCluster.run(3, enrolling: true) { cluster in
            try await withClient(cluster) { client in
                let token = try await token(cluster, "--node", "n4", "--ttl", "5m")
                #expect(token.endpoints.count == 3)
                let place = cluster.root + "/host4"
                let ports = try FreePorts.take(4)
                let join = [
                    "node", "join", "--name", "n4", "--dir", place, "--peer-address", "127.0.0.1:\(ports[0])",
                    "--api-address", "127.0.0.1:\(ports[1])", "--output", "json",
                ]
                let learner = try await esper(cluster, join + ["--token", token.text])
                #expect(learner.document?["role"] as? String == "learner", "\(learner.errors)")
                #expect(learner.document?["already_enrolled"] as? Bool == false)
                let id = try #require(learner.document?["id"] as? String)
                for (file, mode) in [("node.key", 0o600), ("node.pem", 0o600), ("node.yaml", 0o600)] {
                    let attributes = try FileManager.default.attributesOfItem(atPath: "\(place)/\(file)")
                    #expect(attributes[.posixPermissions] as? Int == mode, "\(file)")
                }
                #expect(try !String(contentsOfFile: "\(place)/node.yaml", encoding: .utf8).contains(token.text))

                // Again, without a token: goes on where it ended.
                try cluster.start("n4", settings: "\(place)/node.yaml")
                let voter = try await esper(cluster, join + ["--voter"])
                #expect(voter.document?["role"] as? String == "voter", "\(voter.errors)")
                #expect(voter.document?["already_enrolled"] as? Bool == true)
                #expect(voter.document?["id"] as? String == id)
                let member = try await client.status().members.first { $0.name == "n4" }
                #expect(member?.isVoter == true && member?.id == id)

                let listed = try await esper(cluster, ["cluster", "token", "list", "--output", "json"])
                let entry = (listed.document?["tokens"] as? [[String: Any]])?.first
                #expect(entry?["state"] as? String == "used" && entry?["used_by"] as? [String] == ["n4"])
                #expect(!listed.output.contains(String(token.text.dropFirst(30).prefix(30))))

                try await renews(cluster, place)

                // The same directory is this node's alone, and the token nobody else's.
                let other = try await esper(
                    cluster,
                    [
                        "node", "join", "--name", "n5", "--dir", place, "--peer-address", "127.0.0.1:1",
                        "--api-address", "127.0.0.1:2", "--token", token.text,
                    ])
                #expect(other.code == 1 && other.errors.joined().contains("is the directory of n4 already"))
                let again = try await esper(
                    cluster,
                    [
                        "node", "join", "--name", "n4", "--dir", cluster.root + "/other", "--peer-address",
                        "127.0.0.1:\(ports[2])", "--api-address", "127.0.0.1:\(ports[3])", "--token", token.text,
                    ])
                #expect(again.code == 1 && again.errors.joined().contains("the join token is used up"))
                #expect(!FileManager.default.fileExists(atPath: cluster.root + "/other/node.pem"))
            }
        }
    }

    /// The same key, a new certificate, which the running node takes.
    private func renews(_ cluster: LocalCluster, _ place: String) async throws {
        func serial() throws -> String {
            try CertificateSummary.read(pem: String(contentsOfFile: "\(place)/node.pem", encoding: .utf8))[0]
                .serialNumber
        }
        let before = try serial()
        let token = try await token(cluster, "--node", "n4")
        let renewed = try await esper(
            cluster, ["node", "renew", "--dir", place, "--token", token.text, "--output", "json"])
        #expect(renewed.document?["name"] as? String == "n4", "\(renewed.errors)")
        #expect(try serial() != before)
        cluster.process("n4").signal(SIGHUP)
        try await until("the reload") { cluster.log(of: "n4").contains("certificates reloaded") }
        // With another key nobody is n4.
        await expectRefusal("member_name_taken", token)
    }

    @Test func `nobody gets in by a wrong token, a wrong name, twice, or without a token`() async throws {
        try await LocalCluster.run(3, enrolling: true) { cluster in
            try await withClient(cluster) { client in
                let before = try await client.status().members.map(\.name)
                try await wrongTokens(cluster)
                try await wrongNames(cluster)
                try await forgedRequests(cluster)
                try await strangers(cluster)
                #expect(try await client.status().members.map(\.name) == before)
                try await races(cluster, client)
            }
        }
    }

    // MARK: - What strangers try

    /// Asks as the command does, from this process.
    private func enroll(
        _ token: JoinToken, as name: String = "n4", port: Int = 9
    ) async -> Result<EnrollmentClient.Outcome, EnrollmentRefusal> {
        let member = NewMember(
            name: name, peer: HostPort(host: "127.0.0.1", port: port), api: HostPort(host: "127.0.0.1", port: port + 1))
        do {
            let client = EnrollmentClient(
                token: token, member: member, privateKeyPEM: try PrivateKey.newPEM(), now: { Date() })
            return .success(try await client.enroll())
        } catch let refusal as EnrollmentRefusal {
            return .failure(refusal)
        } catch {
            return .failure(EnrollmentRefusal(code: "\(error)", message: "", isRetryable: false))
        }
    }

    private func expectRefusal(
        _ code: String, _ token: JoinToken, as name: String = "n4", from location: SourceLocation = #_sourceLocation
    ) async {
        switch await enroll(token, as: name) {
        case .success: Issue.record("\(name) was let in", sourceLocation: location)
        case .failure(let refusal): #expect(refusal.code == code, "\(refusal.message)", sourceLocation: location)
        }
    }

    private func wrongTokens(_ cluster: LocalCluster) async throws {
        let brief = try await token(cluster, "--ttl", "1s")
        let good = try await token(cluster)
        var secret = good.secret
        secret[31] ^= 1
        await expectRefusal("unknown_token", good.changed(secret: secret))
        await expectRefusal("unknown_token", good.changed(id: JoinTokenID(1)))
        await expectRefusal("wrong_cluster", good.changed(cluster: ClusterID(1)))
        await expectRefusal("untrusted", good.changed(fingerprint: [UInt8](repeating: 1, count: 32)))
        // The node's own certificate is no authority's.
        let leaf = try CertificateSummary.read(
            pem: String(contentsOfFile: "\(cluster.root)/n1.pem", encoding: .utf8))[0].fingerprint
        await expectRefusal("untrusted", good.changed(fingerprint: bytes(leaf)))

        let revoked = try await token(cluster)
        #expect(try await esper(cluster, ["cluster", "token", "revoke", revoked.id.description]).code == 0)
        await expectRefusal("token_revoked", revoked)
        await expectRefusal("token_of_another", try await token(cluster, "--node", "n7"))
        // What its holder makes of its expiry changes nothing; by now it has expired, or does soon.
        try await until("the end of a token") {
            if case .failure(let refusal) = await enroll(brief, as: "n1") {
                refusal.code == "token_expired"
            } else {
                false
            }
        }
        await expectRefusal("token_expired", brief.changed(expires: brief.expires + 1000))
        let none = try await esper(cluster, ["cluster", "token", "create", "--ttl", "8d"])
        #expect(none.code == 1 && none.errors.joined().contains("1 s to 7 d"))
    }

    private func wrongNames(_ cluster: LocalCluster) async throws {
        let token = try await token(cluster)
        await expectRefusal("member_name_taken", token, as: "n1")
        for name in ["a b", "..", "n/4"] {
            // The certificate request cannot even be made; a program that makes one anyway is refused as well.
            await expectRefusal("malformed", token, as: name)
        }
        let listed = try await esper(cluster, ["cluster", "token", "list", "--output", "json"])
        let tokens = try #require(listed.document?["tokens"] as? [[String: Any]])
        #expect(tokens.allSatisfy { ($0["used_by"] as? [String]) == [] })
    }

    /// Requests that no program of ours makes.
    private func forgedRequests(_ cluster: LocalCluster) async throws {
        let token = try await token(cluster)
        let key = try PrivateKey.newPEM()
        func request(_ name: String, as identity: String, hosts: [String] = []) throws -> EnrollmentRequest {
            EnrollmentRequest(
                cluster: token.cluster, token: token.id, secret: token.secret,
                member: NewMember(
                    name: name, peer: HostPort(host: "127.0.0.1", port: 9), api: HostPort(host: "127.0.0.1", port: 10)),
                certificateRequest: try CertificateRequest(
                    for: SPIFFEID(identity), hosts: hosts, privateKeyPEM: key
                ).bytes)
        }
        let port = try #require(cluster.members[0].enrollPort)
        for (request, says) in [
            (try request("n4", as: "spiffe://esper.local/node/n1"), "not for spiffe://esper.local/node/n4"),
            (try request("n4", as: "spiffe://esper.local/client/n4"), "not for spiffe://esper.local/node/n4"),
            (try request("n4", as: "spiffe://elsewhere/node/n4"), "not for spiffe://esper.local/node/n4"),
            (try request("n4", as: "spiffe://esper.local/node/n4", hosts: ["n1.internal"]), "names n1.internal"),
            (try request("n/4", as: "spiffe://esper.local/node/n4"), "cannot be the name of a node"),
        ] {
            #expect(try await say(request, to: port).contains(says))
        }
        var proofless = try request("n4", as: "spiffe://esper.local/node/n4")
        proofless.certificateRequest[proofless.certificateRequest.count - 1] ^= 1
        #expect(try await say(proofless, to: port).contains("certificate request"))
    }

    private func say(_ request: EnrollmentRequest, to port: Int) async throws -> String {
        let connection = try await RawConnection.open(
            port: port, tls: .joining(applicationProtocols: [EnrollmentListener.applicationProtocol]))
        connection.send(EnrollmentFrame.encoded(request))
        return await connection.closed()
    }

    private func strangers(_ cluster: LocalCluster) async throws {
        let port = try #require(cluster.members[0].enrollPort)
        let closed = try await onThread {
            (Garbage.samples + [Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)]).map { Garbage.send($0, to: port) }
        }
        #expect(closed.allSatisfy { $0 })
        // The log is written by a thread of its own.
        let node = cluster.members[0].name
        for reason in ["plaintext_http", "not_tls", "wrong_request"] {
            try await until("\(reason) in the log of \(node)") { cluster.log(of: node).contains("reason=\(reason)") }
        }
    }

    /// Eight hosts show one token of one use, at different nodes: one gets in.
    private func races(_ cluster: LocalCluster, _ client: EsperClient) async throws {
        let token = try await token(cluster)
        let outcomes = await withTaskGroup(of: Result<EnrollmentClient.Outcome, EnrollmentRefusal>.self) { group in
            for racer in 0..<8 {
                let endpoint = token.endpoints[racer % token.endpoints.count]
                group.addTask {
                    await enroll(
                        token.changed(endpoints: [endpoint]), as: "racer\(racer)", port: 20_000 + 10 * racer)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        let winners = outcomes.compactMap { try? $0.get() }
        #expect(winners.count == 1)
        for case .failure(let refusal) in outcomes { #expect(refusal.code == "token_used", "\(refusal.message)") }
        let name = try #require(winners.first).identity.name
        // Admitted, never started: taken out again, its name is free.
        _ = try await client.removeMembers([name])
        try await until("a free name") { try await !client.status().members.contains { $0.name == name } }
    }

    private func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = hexadecimal.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}

extension JoinToken {
    /// As somebody would have it who changes the text.
    fileprivate func changed(
        id: JoinTokenID? = nil, secret: [UInt8]? = nil, fingerprint: [UInt8]? = nil, cluster: ClusterID? = nil,
        expires: UInt64? = nil, endpoints: [HostPort]? = nil
    ) -> JoinToken {
        JoinToken(
            id: id ?? self.id, secret: secret ?? self.secret,
            authorityFingerprint: fingerprint ?? authorityFingerprint, cluster: cluster ?? self.cluster,
            expires: expires ?? self.expires, endpoints: endpoints ?? self.endpoints)
    }
}
