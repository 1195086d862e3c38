import FoundationEssentials
import GRPCTransport
import Identity
import NIOCore
import NIOPosix
import NIOSSL

/// Certificates of one authority for a server and a client, made once for all tests.
struct TestTLS {
    let server: TLSCredentials
    let client: TLSCredentials
    let files: (authority: String, certificate: String, privateKey: String)

    static let shared: TestTLS = {
        do {
            return try TestTLS()
        } catch {
            fatalError("cannot make certificates: \(error)")
        }
    }()

    private init() throws {
        let now = Date()
        let authority = try CertificateAuthority(newFor: "test.local", validFor: 86_400, now: now)
        let server = try authority.issue(
            .node, name: "n1", hosts: ["localhost", "127.0.0.1"], validFor: 86_400, now: now)
        let client = try authority.issue(.client, name: "tester", validFor: 86_400, now: now)
        self.server = try TLSCredentials(
            certificatePEM: server.certificatePEM, privateKeyPEM: server.privateKeyPEM,
            authorityPEM: authority.certificatePEM, now: now)
        self.client = try TLSCredentials(
            certificatePEM: client.certificatePEM, privateKeyPEM: client.privateKeyPEM,
            authorityPEM: authority.certificatePEM, now: now)
        files = try (authority.certificatePEM, client.certificatePEM, client.privateKeyPEM)
    }

    func serverContext() throws -> NIOSSLContext {
        try NIOSSLContext(configuration: server.apiServerConfiguration(applicationProtocols: ["h2"]))
    }

    func clientContext() throws -> NIOSSLContext {
        try NIOSSLContext(configuration: client.apiClientConfiguration(applicationProtocols: ["h2"]))
    }
}

/// A server on a free port of this machine, and a loop for clients.
struct EchoServer {
    let service: EchoService
    /// Behind the same port, under the name `other.Echo`.
    let other: EchoService
    let server: GRPCServer
    let channel: any Channel
    let group: MultiThreadedEventLoopGroup

    var port: Int { channel.localAddress?.port ?? 0 }

    /// Runs `body` against a server, then stops everything.
    static func run(
        options: TransportOptions = .server, threads: Int = 2, _ body: (EchoServer) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        let service = EchoService()
        let other = EchoService(name: "other.Echo")
        let server = GRPCServer(
            services: [(service, service.methods), (other, other.methods)], options: options)
        let credentials = TestTLS.shared.server
        let channel = try await server.bind(
            host: "127.0.0.1", port: 0, on: group, tls: TestTLS.shared.serverContext(),
            principal: { certificate in try? credentials.identity(of: certificate, now: Date()).description })
        let running = EchoServer(service: service, other: other, server: server, channel: channel, group: group)
        do {
            try await body(running)
            try await channel.close()
            try await group.shutdownGracefully()
        } catch {
            try? await channel.close()
            try? await group.shutdownGracefully()
            throw error
        }
    }

    func connect(options: TransportOptions = .client) async throws -> ClientConnection {
        try await ClientConnection.connect(
            host: "127.0.0.1", port: port, tls: TestTLS.shared.clientContext(), on: group.any(), options: options
        ).get()
    }
}

extension ClientConnection {
    func call(
        _ method: EchoService.Method, _ message: [UInt8] = [], timeout: TimeAmount? = .seconds(10),
        metadata: Metadata = Metadata(), of service: String = "test.Echo"
    ) async -> Result<ClientReply, CallFailure> {
        await unary(ClientCall(path: method.path(of: service), message: message, timeout: timeout, metadata: metadata))
    }
}
