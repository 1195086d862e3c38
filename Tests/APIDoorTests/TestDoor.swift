import APIDoor
import Coordination
import EsperClient
import EsperTypes
import Foundation
import GRPCTransport
import Identity
import Logging
import Metrics
import NIOCore
import NIOPosix
import NIOSSL
import Observability
import PeerTransport
import RaftCore
import RaftRuntime
import RaftStorage

/// One real node with its API port on a free loopback port, and an authority that issues certificates.
final class TestDoor: Sendable {
    /// The process's one metrics backend, shared by all tests.
    static let registry = {
        let registry = PrometheusRegistry()
        MetricsSystem.bootstrap(registry)
        return registry
    }()

    let authority: CertificateAuthority
    let listener: APIListener
    let grpcServer: GRPCServer
    let health: Health
    let node: NodeHandle
    let cache: MemoryCache
    let cacheDoor: CacheDoor
    let httpDoor: HTTPDoor
    private let directory: DataDirectory
    private let group: MultiThreadedEventLoopGroup
    /// The node's own loop, which a test may stall.
    let coreGroup: MultiThreadedEventLoopGroup
    private let path: String

    /// Runs `body` with a node that leads itself; stops it and removes its files, also when it fails.
    ///
    /// - Parameters:
    ///   - servesGRPC: otherwise h2 connections are told who they are, and closed.
    ///   - silence: of the cache's callers.
    static func run(
        servesGRPC: Bool = false, silence: Duration = .seconds(60), _ change: (inout APIOptions) -> Void = { _ in },
        _ body: (TestDoor) async throws -> Void
    ) async throws {
        let door = try await TestDoor(servesGRPC, silence, change)
        do {
            try await door.waitUntilReady()
            try await body(door)
        } catch {
            await door.stop()
            throw error
        }
        await door.stop()
    }

    private init(
        _ servesGRPC: Bool, _ silence: Duration, _ change: (inout APIOptions) -> Void
    ) async throws {
        _ = Self.registry
        path = NSTemporaryDirectory() + "/esper-door-\(UInt64.random(in: 0 ... .max))"
        authority = try CertificateAuthority(newFor: "test.local", validFor: 3600, now: Date())
        group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        coreGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let entropy: @Sendable () -> UInt64 = { UInt64.random(in: 1 ... .max) }
        let storage = StorageOptions(segmentBytes: 1 << 20)
        try DataDirectory.create(
            path,
            identity: StorageIdentity(cluster: ClusterID(1), node: NodeID(1), incarnation: Incarnation(entropy())),
            configuration: Configuration(voters: [NodeID(1)]), options: storage, entropy: entropy)
        directory = try DataDirectory.open(path, options: storage, entropy: entropy)
        let issued = try authority.issue(.node, name: "n1", hosts: ["127.0.0.1"], validFor: 3600, now: Date())
        let credentials = try TLSCredentials(
            certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM,
            authorityPEM: authority.certificatePEM, now: Date())
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let parts = NodeParts(
            name: "n1", version: "test",
            members: [
                ClusterMember(
                    id: NodeID(1), name: "n1", peerHost: "127.0.0.1", peerPort: 1, apiAddress: "127.0.0.1:2", zone: "")
            ],
            directory: directory, recovered: try directory.recoverNode(), credentials: credentials,
            settings: CoordinationSettings(), options: RuntimeOptions(),
            peerOptions: PeerOptions(host: "127.0.0.1", port: 0), seed: entropy(), logger: logger, date: { Date() })
        node = try await NodeHandle.start(parts, on: coreGroup.next(), observer: SilentObserver())
        health = Health()
        cache = MemoryCache()
        cacheDoor = CacheDoor(cache: cache, silence: silence)
        var options = APIOptions(host: "127.0.0.1", port: 0)
        change(&options)
        httpDoor = HTTPDoor(
            node: node, health: health, registry: Self.registry,
            facts: { NodeFacts(catalog: .disabled) }, options: options,
            cache: cache, logger: logger)
        let grpc = GRPCServer(
            services: [
                (
                    try await GRPCDoor(node: node, group: group, facts: { NodeFacts(catalog: .disabled) }),
                    GRPCDoor.methods(development: true)
                ), (cacheDoor, CacheDoor.methods),
            ], options: GRPCDoor.transportOptions)
        grpcServer = grpc
        listener = try await APIListener.start(
            options, credentials: credentials, door: httpDoor, on: group, logger: logger, date: { Date() },
            attachHTTP2: { channel, principal in
                if servesGRPC { return try grpc.attach(to: channel, principal: principal) }
                // Stands for gRPC: tells who was let in.
                channel.writeAndFlush(ByteBuffer(string: "h2 for \(principal)"), promise: nil)
                channel.close(promise: nil)
            })
    }

    private func stop() async {
        await listener.stop(within: .seconds(2))
        await node.stop()
        directory.close()
        try? await group.shutdownGracefully()
        try? await coreGroup.shutdownGracefully()
        try? FileManager.default.removeItem(atPath: path)
    }

    private func waitUntilReady() async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            if case .status(let status) = await node.call(.status, principal: "test", timeout: .seconds(1)),
                status.readiness == .ready
            {
                return
            }
            await Task.yield()
        }
        throw Unexpected(text: "the node did not become ready")
    }

    // MARK: - Clients

    /// TLS of a client with a certificate of the given authority, the node's own unless told otherwise.
    func clientTLS(
        _ protocols: [String] = ["http/1.1"], of authority: CertificateAuthority? = nil
    ) throws -> TLSConfiguration {
        try clientTLS(
            protocols,
            of: (authority ?? self.authority)
                .issue(.client, name: "alice", validFor: 3600, now: Date()))
    }

    /// TLS of a client with this certificate.
    func clientTLS(_ protocols: [String] = ["http/1.1"], of issued: IssuedCertificate) throws -> TLSConfiguration {
        try clientTLS(protocols, certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM)
    }

    func clientTLS(
        _ protocols: [String] = ["http/1.1"], certificatePEM: String, privateKeyPEM: String
    ) throws -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateChain = try NIOSSLCertificate.fromPEMBytes([UInt8](certificatePEM.utf8))
            .map { .certificate($0) }
        configuration.privateKey = .privateKey(
            try NIOSSLPrivateKey(bytes: [UInt8](privateKeyPEM.utf8), format: .pem))
        configuration.trustRoots = .certificates(
            try NIOSSLCertificate.fromPEMBytes([UInt8](self.authority.certificatePEM.utf8)))
        configuration.applicationProtocols = protocols
        return configuration
    }

    func connect(_ tls: TLSConfiguration?) async throws -> RawClient {
        try await RawClient.connect(port: listener.port, tls: tls)
    }

    /// A gRPC connection of a client.
    func grpc(options: TransportOptions = .client) async throws -> ClientConnection {
        try await ClientConnection.connect(
            host: "127.0.0.1", port: listener.port, tls: NIOSSLContext(configuration: clientTLS(["h2"])),
            on: group.next(), options: options
        ).get()
    }

    /// The client library, on a certificate for `alice`.
    func client() throws -> EsperClient {
        let issued = try authority.issue(.client, name: "alice", validFor: 3600, now: Date())
        var files: [String: String] = [:]
        for (name, text) in [
            ("ca", try authority.certificatePEM), ("certificate", issued.certificatePEM), ("key", issued.privateKeyPEM),
        ] {
            let file = "\(path)/\(name).pem"
            try Data(text.utf8).write(to: URL(filePath: file))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
            files[name] = file
        }
        var options = ClientOptions()
        options.firstPause = .milliseconds(1)
        options.longestPause = .milliseconds(20)
        // Nobody listens where the node says that the leader is.
        options.followsLeader = false
        return try EsperClient(
            ClientSettings(
                endpoints: ["127.0.0.1:\(listener.port)"], authority: files["ca"] ?? "",
                certificate: files["certificate"] ?? "", privateKey: files["key"] ?? ""),
            options: options, eventLoop: group.next())
    }

    /// One request on a connection of its own.
    func request(
        _ method: String, _ target: String, body: String = "", headers: String = ""
    ) async throws -> HTTPAnswer {
        let client = try await connect(try clientTLS())
        client.send(
            "\(method) \(target) HTTP/1.1\r\nHost: test\r\nContent-Length: \(body.utf8.count)\r\n\(headers)\r\n\(body)")
        defer { client.close() }
        return try await client.answer()
    }

    func post(_ path: String, _ body: String) async throws -> HTTPAnswer {
        try await request("POST", path, body: body)
    }

    func get(_ target: String) async throws -> HTTPAnswer { try await request("GET", target) }
}

struct Unexpected: Error { var text: String }

private final class SilentObserver: NodeObserver {
    func leadershipChanged(_ term: Term?) {}
    func readinessChanged(_ readiness: Readiness) {}
    func storageFailed(_ error: StorageError) { preconditionFailure("the log failed: \(error)") }
    func statesCompared(difference: String?) {}
    func stateDiverged(_ difference: StateDifference) { preconditionFailure("the state diverged: \(difference)") }
    func outboxGrew() {}
    func namesChanged(_ names: [NamedBinding]?) {}
}
