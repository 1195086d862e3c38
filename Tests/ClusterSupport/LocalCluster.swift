public import EsperTypes
import Foundation
import Glibc
public import Identity
import Synchronization

/// A cluster of real `esper-node` processes on loopback, with certificates of its own, under a temporary directory.
///
/// ``shutdown()`` kills what runs and removes the files; ``run(_:settings:_:)`` calls it on every path.
public final class LocalCluster: Sendable {
    public struct Member: Sendable {
        public var name: String
        public var id: NodeID
        public var peerPort: Int
        public var apiPort: Int
    }

    public let root: String
    public let members: [Member]
    public let authority: CertificateAuthority
    private let clusterID = ClusterID(UInt64.random(in: 1 ... .max))
    private let settings: String
    private let processes = Mutex<[String: NodeProcess]>([:])

    /// - Parameter settings: YAML lines that every node's settings get.
    public init(_ count: Int, settings: String = "") throws {
        root = NSTemporaryDirectory() + "/esper-cluster-\(UInt64.random(in: 0 ... .max))"
        self.settings = settings
        let ports = try FreePorts.take(count * 2)
        members = (0..<count).map {
            Member(name: "n\($0 + 1)", id: NodeID(UInt64($0 + 1)), peerPort: ports[$0 * 2], apiPort: ports[$0 * 2 + 1])
        }
        authority = try CertificateAuthority(newFor: "esper.local", validFor: 24 * 3600, now: Date())
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        try Data(authority.certificatePEM.utf8).write(to: URL(fileURLWithPath: root + "/ca.pem"))
        for member in members {
            try issue(.node, name: member.name, hosts: ["127.0.0.1", "localhost"])
            try writeSettings(of: member)
        }
        try issue(.client, name: "tester", hosts: [])
        let endpoints = members.map { "127.0.0.1:\($0.apiPort)" }.joined(separator: ", ")
        try """
        endpoints: [\(endpoints)]
        ca: \(root)/ca.pem
        certificate: \(root)/tester.pem
        private_key: \(root)/tester.key
        """.write(toFile: clientFile, atomically: true, encoding: .utf8)
    }

    /// Starts every node, runs `body`, and leaves nothing behind.
    public static func run(
        _ count: Int, settings: String = "", _ body: (LocalCluster) async throws -> Void
    ) async throws {
        let cluster = try LocalCluster(count, settings: settings)
        defer { cluster.shutdown() }
        for member in cluster.members { try cluster.start(member.name) }
        try await body(cluster)
    }

    /// Certificates as `esper` wants them.
    public var clientFile: String { root + "/client.yaml" }

    public func member(_ name: String) -> Member {
        guard let member = members.first(where: { $0.name == name }) else { preconditionFailure("no member \(name)") }
        return member
    }

    public func issue(_ role: SPIFFEID.Role, name: String, hosts: [String]) throws {
        try authority.issue(role, name: name, hosts: hosts, validFor: 24 * 3600, now: Date())
            .write(certificate: "\(root)/\(name).pem", privateKey: "\(root)/\(name).key", replacing: true)
    }

    public func settingsFile(of name: String) -> String { "\(root)/\(name).yaml" }
    public func dataDirectory(of name: String) -> String { "\(root)/\(name)" }

    // MARK: - Processes

    public func start(_ name: String) throws {
        let process = try NodeProcess(arguments: ["--config", settingsFile(of: name)], log: "\(root)/\(name).log")
        processes.withLock { $0[name] = process }
    }

    public func process(_ name: String) -> NodeProcess {
        guard let process = processes.withLock({ $0[name] }) else { preconditionFailure("\(name) was not started") }
        return process
    }

    public func log(of name: String) -> String {
        (try? String(contentsOfFile: "\(root)/\(name).log", encoding: .utf8)) ?? ""
    }

    /// SIGKILL, and waits until the process is gone.
    public func kill(_ name: String) {
        let process = process(name)
        process.signal(SIGKILL)
        _ = process.wait(atMost: .seconds(10))
    }

    public func shutdown() {
        let all = processes.withLock { processes in
            defer { processes = [:] }
            return processes.values
        }
        for process in all {
            process.signal(SIGCONT)
            process.signal(SIGKILL)
            _ = process.wait(atMost: .seconds(10))
        }
        try? FileManager.default.removeItem(atPath: root)
    }

    private func writeSettings(of member: Member) throws {
        let list = members.map {
            "  - {name: \($0.name), id: \"\($0.id)\", peer: \"127.0.0.1:\($0.peerPort)\", api: \"127.0.0.1:\($0.apiPort)\"}"
        }
        try """
        cluster_id: "\(clusterID)"
        name: \(member.name)
        data_directory: \(dataDirectory(of: member.name))
        members:
        \(list.joined(separator: "\n"))
        tls:
          ca: \(root)/ca.pem
          certificate: \(root)/\(member.name).pem
          private_key: \(root)/\(member.name).key
        development: true
        \(settings)
        """.write(toFile: settingsFile(of: member.name), atomically: true, encoding: .utf8)
    }
}
