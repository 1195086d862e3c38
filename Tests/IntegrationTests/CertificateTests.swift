import ClusterSupport
import Foundation
import Glibc
import Identity
import NIOSSL
import TestSupport
import Testing

/// Certificates that are replaced under a running node.
@Suite(.timeLimit(.minutes(2)))
struct CertificateTests {
    @Test func `on SIGHUP new connections get the rotated certificate, and bad files change nothing`() async throws {
        try await LocalCluster.run(3) { cluster in
            let leader = try await eventually("a leader") {
                cluster.members.first { cluster.log(of: $0.name).contains("electionWon") }?.name
            }
            let name = cluster.members.first { $0.name != leader }!.name
            let electionsBefore = elections(cluster)
            let file = "\(cluster.root)/\(name).pem"
            let ports = [cluster.member(name).apiPort, cluster.member(name).peerPort]
            let before = try certificate(file)
            for port in ports { #expect(try await PresentedCertificate.of(port) == before) }

            // The cluster's root laid out as `esper pki` keeps it.
            try cluster.authority.certificatePEM.write(
                toFile: cluster.root + "/authority.pem", atomically: true, encoding: .utf8)
            try cluster.authority.privateKeyPEM.write(
                toFile: cluster.root + "/authority.key", atomically: true, encoding: .utf8)
            try await rotate(name, in: cluster.root)
            let rotated = try certificate(file)
            #expect(rotated != before)
            for port in ports { #expect(try await PresentedCertificate.of(port) == before) }
            cluster.process(name).signal(SIGHUP)
            try await until("the reload") { cluster.log(of: name).contains("certificates reloaded") }
            for port in ports { #expect(try await PresentedCertificate.of(port) == rotated) }

            try "no certificate".write(toFile: file, atomically: true, encoding: .utf8)
            cluster.process(name).signal(SIGHUP)
            try await until("the refusal") { cluster.log(of: name).contains("the old certificates stay in force") }
            for port in ports { #expect(try await PresentedCertificate.of(port) == rotated) }
            // Links that stood went on standing: nobody had to be elected.
            #expect(elections(cluster) == electionsBefore)
        }
    }

    @Test func `a certificate about to expire is announced`() async throws {
        try await LocalCluster.run(1) { cluster in
            // Those of the tests are valid for a day.
            try await until("the warning") {
                cluster.log(of: "n1").contains("this node's certificate expires soon: rotate it and send SIGHUP")
            }
        }
    }

    private func elections(_ cluster: LocalCluster) -> Int {
        cluster.members.reduce(0) { $0 + cluster.log(of: $1.name).components(separatedBy: "electionWon").count - 1 }
    }

    private func certificate(_ file: String) throws -> [UInt8] {
        try NIOSSLCertificate.fromPEMFile(file)[0].toDERBytes()
    }

    private func rotate(_ name: String, in directory: String) async throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: NodeProcess.binary).deletingLastPathComponent()
            .appendingPathComponent("esper")
        process.arguments = ["pki", "rotate", name, "--dir", directory]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        try await until("esper pki rotate") { !process.isRunning }
        #expect(process.terminationStatus == 0)
    }
}
