import ClusterSupport
import EsperClient
import Foundation
import Glibc
import Identity
import NIOSSL
import TestSupport
import Testing

/// Certificates near their end that nodes have renewed by themselves.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct RenewalTests {
    /// What is left at least of a new one: the authority of the tests lives for a day, and no certificate outlives it.
    private static let renewed = TimeInterval(23 * 3600)
    private static let hosts = ["127.0.0.1", "localhost", "n.internal"]

    /// One whose last third has just begun: 30 of 90 s are left.
    private func age(_ name: String, of cluster: LocalCluster, left: TimeInterval = 30) throws {
        try cluster.issue(
            .node, name: name, hosts: Self.hosts, validFor: left * 3, at: Date() - left * 2)
    }

    private func certificate(_ cluster: LocalCluster, _ name: String) throws -> CertificateSummary {
        try CertificateSummary.read(pem: String(contentsOfFile: "\(cluster.root)/\(name).pem", encoding: .utf8))[0]
    }

    /// A node that cannot sign for others.
    private func takeAuthority(from name: String, of cluster: LocalCluster) throws {
        let file = cluster.settingsFile(of: name)
        try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.hasPrefix("tls.authority_key") && !$0.hasPrefix("enroll:") }
            .joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
    }

    private func metric(_ name: String, _ cluster: LocalCluster, _ node: String) async throws -> Double? {
        let port = cluster.member(node).probePort
        let body = try await onThread { Probe.get("/metrics", port: port)?.body } ?? ""
        return body.split(separator: "\n").first { $0.hasPrefix(name + " ") }
            .flatMap { Double($0.dropFirst(name.count + 1)) }
    }

    /// What a node said after its last line with these words.
    private func log(of name: String, in cluster: LocalCluster, after words: String) -> String {
        cluster.log(of: name).components(separatedBy: words).last ?? ""
    }

    @Test func `a member has its certificate renewed in time by one that has the authority's key, and drops no link`()
        async throws
    {
        try await LocalCluster.run(
            3, settings: "raft: {segment_size: 1MiB}", enrolling: true, started: false
        ) { cluster in
            for name in ["n2", "n3"] {
                try takeAuthority(from: name, of: cluster)
                try age(name, of: cluster)
            }
            let before = try ["n2", "n3"].map { try certificate(cluster, $0) }
            for member in cluster.members { try cluster.start(member.name) }
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await until("a first write") {
                (try? await client.put(Array("key".utf8), Array("value".utf8))) != nil
            }
            for (name, old) in zip(["n2", "n3"], before) {
                try await until("the renewal of \(name)") {
                    cluster.log(of: name).contains("certificates reloaded")
                }
                let new = try certificate(cluster, name)
                #expect(new.serialNumber != old.serialNumber && new.hosts == old.hosts && new.identity == old.identity)
                let left = new.notValidAfter.timeIntervalSinceNow
                #expect(left > Self.renewed, "\(left) s")
                let mode = try FileManager.default.attributesOfItem(atPath: "\(cluster.root)/\(name).pem")[
                    .posixPermissions]
                #expect(mode as? Int == 0o600)
                #expect(cluster.log(of: name).contains("this node's certificate was renewed"))
                #expect(cluster.log(of: "n1").contains(new.serialNumber))
                for port in [cluster.member(name).apiPort, cluster.member(name).peerPort] {
                    let shown = try await PresentedCertificate.of(port)
                    #expect(shown == (try NIOSSLCertificate.fromPEMFile("\(cluster.root)/\(name).pem")[0].toDERBytes()))
                }
                try await until("the new end in the metrics") {
                    try await metric("esper_tls_certificate_expires_seconds", cluster, name) ?? 0 > Self.renewed
                }
                #expect(
                    try await metric("esper_tls_certificate_renewals_total{outcome=\"renewed\"}", cluster, name) == 1)
                // The audit trail names it, on every node.
                for place in cluster.members.map(\.name) {
                    try await until("the record at \(place)") {
                        try log(of: place, in: cluster, holds: [new.serialNumber, "certificate.renewed"])
                    }
                }
            }
            #expect(try await metric("esper_enroll_renewals_total", cluster, "n1") == 2)
            // No link was made anew, and nobody elected.
            for (name, words) in [
                ("n1", "a member's certificate was renewed"), ("n2", "certificates reloaded"),
                ("n3", "certificates reloaded"),
            ] {
                let said = log(of: name, in: cluster, after: words)
                #expect(!said.contains("link down") && !said.contains("electionWon"), "\(name): \(said)")
            }
        }
    }

    /// Whether the log's files hold these words.
    private func log(of name: String, in cluster: LocalCluster, holds words: [String]) throws -> Bool {
        let place = cluster.dataDirectory(of: name) + "/log"
        let all = try FileManager.default.contentsOfDirectory(atPath: place).reduce(into: Data()) {
            $0 += FileManager.default.contents(atPath: place + "/" + $1) ?? Data()
        }
        return words.allSatisfy { all.range(of: Data($0.utf8)) != nil }
    }

    @Test func `a node that has the authority's key renews its own certificate, behind a link too`() async throws {
        try await LocalCluster.run(1, enrolling: true, started: false) { cluster in
            try age("n1", of: cluster)
            let file = "\(cluster.root)/n1.pem"
            let target = "\(cluster.root)/n1-real.pem"
            try FileManager.default.moveItem(atPath: file, toPath: target)
            try FileManager.default.createSymbolicLink(atPath: file, withDestinationPath: target)
            try cluster.start("n1")
            try await until("the renewal") { cluster.log(of: "n1").contains("certificates reloaded") }
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: file) == target)
            #expect(try certificate(cluster, "n1").notValidAfter.timeIntervalSinceNow > Self.renewed)
        }
    }

    @Test func `without the authority's key in the cluster nothing is renewed, and the log says so once`() async throws
    {
        try await LocalCluster.run(3, started: false) { cluster in
            try age("n2", of: cluster)
            let before = try certificate(cluster, "n2")
            for member in cluster.members { try cluster.start(member.name) }
            try await until("three attempts") {
                try await metric(
                    "esper_tls_certificate_renewals_total{outcome=\"no_authority\"}", cluster, "n2") ?? 0 >= 3
            }
            let told = cluster.log(of: "n2").components(separatedBy: "no member has the authority's key").count - 1
            #expect(told == 1)
            #expect(try certificate(cluster, "n2") == before)
        }
    }
}
