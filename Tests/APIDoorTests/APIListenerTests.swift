import APIDoor
import Crypto
import Foundation
import Identity
import NIOSSL
import SwiftASN1
import Testing
import X509

@Suite(.serialized, .timeLimit(.minutes(2)))
struct APIListenerTests {
    @Test func `h2 is handed on with the principal of the certificate`() async throws {
        try await TestDoor.run { (door) async throws in
            let client = try await door.connect(try door.clientTLS(["h2"]))
            #expect(await client.closed() == "h2 for client/alice")
        }
    }

    @Test func `what cannot come in is closed and counted by reason`() async throws {
        try await TestDoor.run({ $0.handshakeTimeout = .milliseconds(200) }) { (door) async throws in
            let plaintext = try await door.connect(nil)
            plaintext.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(await !plaintext.closed().contains("HTTP/1.1 200"))
            let garbage = try await door.connect(nil)
            garbage.send([UInt8](repeating: 0xa5, count: 4096))
            _ = await garbage.closed()
            let half = try await door.connect(nil)
            half.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
            _ = await half.closed()
            let silent = try await door.connect(nil)
            #expect(await silent.closed().isEmpty)
            var bare = try door.clientTLS()
            bare.certificateChain = []
            bare.privateKey = nil
            let nameless = try await door.connect(bare)
            nameless.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(await nameless.closed().isEmpty)
            let foreign = try CertificateAuthority(newFor: "test.local", validFor: 3600, now: Date())
            let stranger = try await door.connect(try door.clientTLS(of: foreign))
            stranger.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(await stranger.closed().isEmpty)
            let tongueless = try await door.connect(try door.clientTLS(["smtp"]))
            #expect(await tongueless.closed().isEmpty)
            let metrics = try await door.get("/metrics").body
            for reason in [
                "plaintext_http", "not_tls", "handshake_timeout", "no_certificate", "unknown_authority", "no_protocol",
            ] {
                #expect(metrics.contains("esper_api_connections_refused_total{reason=\"\(reason)\"}"), "\(reason)")
            }
        }
    }

    /// A certificate that our authority has signed for a use of our choice.
    private func issued(
        by authority: CertificateAuthority, for usage: ExtendedKeyUsage.Usage
    ) throws -> (certificatePEM: String, privateKeyPEM: String) {
        let issuer = try Certificate(pemEncoded: authority.certificatePEM)
        let issuerKey = try Certificate.PrivateKey(pemEncoded: authority.privateKeyPEM)
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let leaf = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
            notValidBefore: Date() - 60, notValidAfter: Date() + 600, issuer: issuer.subject,
            subject: try DistinguishedName { CommonName("n1") }, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([usage])
                SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://test.local/node/n1")])
            }, issuerPrivateKey: issuerKey)
        return (try leaf.serializeAsPEM().pemString, try key.serializeAsPEM().pemString)
    }

    @Test(arguments: ["http/1.1", "h2"])
    func `certificates that are over, not yet good, for another use or another's are refused and counted`(
        protocolName: String
    ) async throws {
        func refusals(_ reason: String, in text: String) -> Double {
            let line = text.split(separator: "\n").first {
                $0.hasPrefix("esper_api_connections_refused_total{reason=\"\(reason)\"}")
            }
            return line?.split(separator: " ").last.flatMap { Double($0) } ?? 0
        }
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let other = try CertificateAuthority(newFor: "test.local", validFor: 3600, now: Date())
            let foreign = try CertificateAuthority(newFor: "other.local", validFor: 3600, now: Date())
            let expired = try door.authority.issue(.client, name: "alice", validFor: 60, now: Date() - 1000)
            let early = try door.authority.issue(.client, name: "alice", validFor: 60, now: Date() + 1000)
            let serving = try issued(by: door.authority, for: .serverAuth)
            let calling = try issued(by: door.authority, for: .clientAuth)
            let offered = [protocolName]
            for (reason, tls) in [
                ("expired", try door.clientTLS(offered, of: expired)),
                ("not_yet_valid", try door.clientTLS(offered, of: early)),
                (
                    "wrong_usage",
                    try door.clientTLS(
                        offered, certificatePEM: serving.certificatePEM, privateKeyPEM: serving.privateKeyPEM)
                ), ("unknown_authority", try door.clientTLS(offered, of: other)),
                ("unknown_authority", try door.clientTLS(offered, of: foreign)),
            ] {
                let before = refusals(reason, in: try await door.get("/metrics").body)
                let client = try await door.connect(tls)
                client.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                #expect(await client.closed().isEmpty, "\(reason)")
                #expect(refusals(reason, in: try await door.get("/metrics").body) == before + 1, "\(reason)")
            }
            // The same certificate for the right use comes in.
            let client = try await door.connect(
                try door.clientTLS(certificatePEM: calling.certificatePEM, privateKeyPEM: calling.privateKeyPEM))
            client.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(try await client.answer().status == 200)
        }
    }

    @Test func `strangers that never finish their handshake keep no client out`() async throws {
        let bounds = { (options: inout APIOptions) in
            options.maximumConnections = 4
            options.maximumUnauthenticated = 4
            options.handshakeTimeout = .seconds(60)
        }
        try await TestDoor.run(bounds) { (door) async throws in
            var strangers: [RawClient] = []
            for _ in 0..<12 { strangers.append(try await door.connect(nil)) }
            #expect(try await door.get("/health").status == 200)
            // The oldest has made room, unheard.
            #expect(await strangers[0].closed().isEmpty)
            #expect(
                try await door.get("/metrics").body.contains("esper_api_connections_refused_total{reason=\"flood\"}"))
            for stranger in strangers { stranger.close() }
        }
    }

    @Test func `clients beyond the bound are refused and the others are served`() async throws {
        try await TestDoor.run({ $0.maximumConnections = 2 }) { (door) async throws in
            let first = try await door.connect(try door.clientTLS())
            let second = try await door.connect(try door.clientTLS())
            for client in [first, second] {
                client.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                #expect(try await client.answer().status == 200)
            }
            let third = try await door.connect(try door.clientTLS())
            third.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(await third.closed().isEmpty)
            first.close()
            second.close()
        }
    }

    @Test func `a stop ends event streams`() async throws {
        try await TestDoor.run { (door) async throws in
            let client = try await door.connect(try door.clientTLS())
            client.send("GET /v1/watch?prefix= HTTP/1.1\r\nHost: test\r\n\r\n")
            _ = try await client.received(containing: ": \n\n")
            await door.listener.stop(within: .seconds(5))
            _ = await client.closed()
        }
    }
}
