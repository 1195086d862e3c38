public import EsperTypes
public import Foundation
import Glibc
public import Identity
import Synchronization
import TestSupport

/// A cluster of real `esper-node` processes on loopback, with certificates of its own, under a temporary directory.
///
/// ``run(_:settings:proxied:started:_:)`` kills what runs and removes the files on every path; should the test process
/// die, a janitor that waits for the end of a pipe does it.
public final class LocalCluster: Sendable {
    public struct Member: Sendable {
        public var name: String
        public var id: NodeID
        public var peerPort: Int
        /// What clients are told.
        public var apiPort: Int
        /// Where the node listens: elsewhere when the test stands between it and its clients.
        public var apiListenPort: Int
        /// Plaintext probes and metrics.
        public var probePort: Int
        /// Where hosts with a token join; nil: not at this node.
        public var enrollPort: Int?
    }

    public let root: String
    private let known: Mutex<[Member]>
    public let authority: CertificateAuthority
    private let clusterID = ClusterID(UInt64.random(in: 1 ... .max))
    private let settings: String
    /// The last process of each node that was ever started.
    private let processes = Mutex<[String: NodeProcess]>([:])
    private let janitor: Child

    private init(_ count: Int, settings: String, proxied: Bool, enrolling: Bool) throws {
        root = NSTemporaryDirectory() + "/esper-cluster-\(UInt64.random(in: 0 ... .max))"
        self.settings = settings
        let members = try (1...count).map { number in
            let ports = try FreePorts.take(5)
            return Member(
                name: "n\(number)", id: NodeID(UInt64(number)), peerPort: ports[0], apiPort: ports[1],
                apiListenPort: proxied ? ports[2] : ports[1], probePort: ports[3],
                enrollPort: enrolling ? ports[4] : nil)
        }
        known = Mutex(members)
        authority = try CertificateAuthority(newFor: "esper.local", validFor: 24 * 3600, now: Date())
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        janitor = try Child(
            "/bin/sh",
            [
                "-c",
                """
                read -r line
                for file in "$0"/*.pid; do [ -f "$file" ] && kill -9 "$(cat "$file")"; done
                rm -rf "$0"
                """, root,
            ], output: "/dev/null")
        try Data(authority.certificatePEM.utf8).write(to: URL(fileURLWithPath: root + "/ca.pem"))
        if enrolling { try PEMFile.write(try authority.privateKeyPEM, to: root + "/authority.key", replacing: false) }
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

    /// Runs `body` with a cluster and leaves nothing behind.
    ///
    /// - Parameters:
    ///   - settings: YAML lines that every node's settings get.
    ///   - proxied: nodes listen for clients on ``Member/apiListenPort``, and tell them ``Member/apiPort``.
    ///   - enrolling: hosts can join by a token, at every node.
    ///   - started: whether every node is started first.
    public static func run(
        _ count: Int, settings: String = "", proxied: Bool = false, enrolling: Bool = false, started: Bool = true,
        _ body: (LocalCluster) async throws -> Void
    ) async throws {
        let cluster = try LocalCluster(count, settings: settings, proxied: proxied, enrolling: enrolling)
        do {
            if started { try await cluster.startAll() }
            try await body(cluster)
        } catch {
            cluster.keepLogs()
            await cluster.shutdown()
            throw error
        }
        await cluster.shutdown()
    }

    /// Starts every node, and waits until all of them answer: a cluster may have a leader before the last door is open.
    private func startAll() async throws {
        for member in members { try start(member.name) }
        for member in members {
            try await until("the doors of \(member.name)") {
                try await onThread { Probe.get("/health", port: member.probePort) != nil }
            }
        }
    }

    /// Saves what the nodes said, for whoever asks why a test failed.
    private func keepLogs() {
        let place = ProcessInfo.processInfo.environment["ESPER_TEST_DIRECTORY"] ?? NSTemporaryDirectory()
        for member in members {
            let file = "\(place)/\((root as NSString).lastPathComponent)-\(member.name).log"
            // The files are a help, not a result: without them the failure still says what failed.
            guard (try? FileManager.default.copyItem(atPath: "\(root)/\(member.name).log", toPath: file)) != nil else {
                continue
            }
            print("what \(member.name) said is in \(file)")
        }
    }

    /// Certificates as `esper` wants them.
    public var clientFile: String { root + "/client.yaml" }

    /// Those that the cluster began with, then those that have joined.
    public var members: [Member] { known.withLock { $0 } }

    /// Ports and a certificate for a node that is to join; its ID comes from the cluster.
    ///
    /// - Parameter left: a node that is no more: the new one gets its ports.
    public func recruit(_ name: String, inPlaceOf left: Member? = nil) throws -> Member {
        let ports = try left.map { [$0.peerPort, $0.apiListenPort, $0.probePort] } ?? FreePorts.take(3)
        try issue(.node, name: name, hosts: ["127.0.0.1", "localhost"])
        return Member(
            name: name, id: NodeID(0), peerPort: ports[0], apiPort: ports[1], apiListenPort: ports[1],
            probePort: ports[2])
    }

    /// Writes the settings of a node that joins those that are there, and starts it.
    public func join(_ member: Member) throws {
        known.withLock { $0.append(member) }
        try writeSettings(of: member, joins: true)
        try start(member.name)
    }

    /// Forgets a node that has left: who joins later is not told of it.
    public func dismiss(_ name: String) { known.withLock { $0.removeAll { $0.name == name } } }

    public func member(_ name: String) -> Member {
        guard let member = members.first(where: { $0.name == name }) else { preconditionFailure("no member \(name)") }
        return member
    }

    /// - Parameters:
    ///   - period: from `moment` on.
    ///   - moment: when the certificate pretends to be issued.
    public func issue(
        _ role: SPIFFEID.Role, name: String, hosts: [String], validFor period: TimeInterval = 24 * 3600,
        at moment: Date = Date()
    ) throws {
        try authority.issue(role, name: name, hosts: hosts, validFor: period, now: moment)
            .write(certificate: "\(root)/\(name).pem", privateKey: "\(root)/\(name).key", replacing: true)
    }

    public func settingsFile(of name: String) -> String { "\(root)/\(name).yaml" }
    public func dataDirectory(of name: String) -> String { "\(root)/\(name)" }

    // MARK: - Processes

    /// The first start of a node initializes it, unless something else is asked for.
    ///
    /// - Parameters:
    ///   - environment: added to ours.
    ///   - launcher: see ``NodeProcess``.
    public func start(
        _ name: String, initialize: Bool? = nil, environment: [String: String] = [:], launcher: [String] = []
    ) throws {
        let isFirst = processes.withLock { $0[name] == nil }
        let process = try NodeProcess(
            arguments: ["--config", settingsFile(of: name)] + (initialize ?? isFirst ? ["--initialize"] : []),
            log: "\(root)/\(name).log", environment: environment, launcher: launcher)
        processes.withLock { $0[name] = process }
        try "\(process.identifier)".write(toFile: "\(root)/\(name).pid", atomically: true, encoding: .utf8)
    }

    /// Starts a node that wrote its settings itself.
    public func start(_ name: String, settings: String) throws {
        let process = try NodeProcess(
            arguments: ["--config", settings, "--initialize"], log: "\(root)/\(name).log")
        processes.withLock { $0[name] = process }
        try "\(process.identifier)".write(toFile: "\(root)/\(name).pid", atomically: true, encoding: .utf8)
    }

    public func process(_ name: String) -> NodeProcess {
        guard let process = processes.withLock({ $0[name] }) else { preconditionFailure("\(name) was not started") }
        return process
    }

    public func log(of name: String) -> String {
        (try? String(contentsOfFile: "\(root)/\(name).log", encoding: .utf8)) ?? ""
    }

    /// SIGKILL, and waits until the process is gone.
    public func kill(_ name: String) async { await kill([name]) }

    /// SIGKILL for all of them before any is waited for.
    public func kill(_ names: [String]) async {
        for name in names { process(name).signal(SIGKILL) }
        for name in names {
            _ = await process(name).wait(atMost: .seconds(10))
            try? FileManager.default.removeItem(atPath: "\(root)/\(name).pid")
        }
    }

    private func shutdown() async {
        await kill(processes.withLock { Array($0.keys) })
        await onThread { [janitor] in
            janitor.writeLine()
            _ = janitor.wait()
        }
    }

    private func writeSettings(of member: Member, joins: Bool = false) throws {
        let list = members.map {
            "  - {name: \($0.name), id: \"\($0.id)\", peer: \"127.0.0.1:\($0.peerPort)\", api: \"127.0.0.1:\($0.apiPort)\""
                + (joins && $0.name == member.name ? ", join: true}" : "}")
        }
        let enroll = member.enrollPort.map {
            "tls.authority_key: \(root)/authority.key\nenroll: {address: \"127.0.0.1:\($0)\"}"
        }
        try """
        cluster_id: "\(clusterID)"
        name: \(member.name)
        listen: {api: "127.0.0.1:\(member.apiListenPort)", probe: "127.0.0.1:\(member.probePort)"}
        data_directory: \(dataDirectory(of: member.name))
        members:
        \(list.joined(separator: "\n"))
        tls:
          ca: \(root)/ca.pem
          certificate: \(root)/\(member.name).pem
          private_key: \(root)/\(member.name).key
        development: true
        \(enroll ?? "")
        \(settings)
        """.write(toFile: settingsFile(of: member.name), atomically: true, encoding: .utf8)
    }
}
