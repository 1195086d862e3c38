import EsperClient
import EsperProtocol
import Foundation
import GRPCTransport
import Identity
import NIOCore
import NIOPosix
import NIOSSL
import SwiftProtobuf
import Synchronization

/// What a scripted node does with a call.
enum Reaction: Sendable {
    case reply([UInt8])
    /// Several messages; the call ends only when an ending follows.
    case messages([[UInt8]], then: Ending)
    case refuse(GRPCStatus, ProtoErrorDetail)
    /// Closes the connection without an answer.
    case loseConnection
    case silence

    enum Ending: Sendable { case open, success, loseConnection, refuse(GRPCStatus, ProtoErrorDetail) }

    static func reply(_ message: some Message) -> Reaction {
        (try? message.serializedBytes()).map { .reply($0) } ?? .silence
    }

    static func messages(_ messages: [some Message], then ending: Ending) -> Reaction {
        .messages(messages.compactMap { try? $0.serializedBytes() }, then: ending)
    }

    static func refuse(
        _ code: String, _ outcome: ProtoOutcome, retryable: Bool, leader: String = "", oldest: UInt64 = 0
    ) -> Reaction {
        .refuse(GRPCStatus(.unavailable, code), .refusal(code, outcome, retryable, leader: leader, oldest: oldest))
    }

    static func committed(_ revision: UInt64) -> Reaction {
        .reply(ProtoPutResponse.with { $0.commit = .with { ($0.outcome, $0.revision) = (.committed, revision) } })
    }
}

extension ProtoErrorDetail {
    static func refusal(
        _ code: String, _ outcome: ProtoOutcome, _ retryable: Bool, leader: String = "", oldest: UInt64 = 0
    ) -> ProtoErrorDetail {
        .with {
            $0.code = code
            $0.message = "scripted"
            $0.outcome = outcome
            $0.retryable = retryable
            $0.leaderEndpoint = leader
            $0.oldestRevision = oldest
        }
    }
}

/// A node that does as a closure says. Client ids are registered, and the status is told, without asking it.
final class ScriptedService: GRPCService {
    typealias Script = @Sendable (_ method: ProtoMethod, _ request: [UInt8], _ number: Int) -> Reaction

    private struct State {
        var calls: [(method: ProtoMethod, request: [UInt8])] = []
        var clients: UInt64 = 0
        var ended: [CallEnd] = []
    }

    private let script: Script
    private let state = Mutex(State())

    /// What the status says of the leader.
    private let leaderEndpoint: String

    init(leaderEndpoint: String, _ script: @escaping Script) {
        self.leaderEndpoint = leaderEndpoint
        self.script = script
    }

    /// Requests of a method, in order of arrival.
    func requests(_ method: ProtoMethod) -> [[UInt8]] {
        state.withLock { $0.calls.filter { $0.method == method }.map(\.request) }
    }

    var clients: UInt64 { state.withLock { $0.clients } }
    var ended: [CallEnd] { state.withLock { $0.ended } }

    static var methods: MethodTable {
        var table = MethodTable()
        for method in ProtoMethod.allCases {
            table.add(method.path, id: method.rawValue, kind: method.isServerStreaming ? .serverStreaming : .unary)
        }
        return table
    }

    func received(_ calls: [InboundCall], on connection: ServerConnection) {
        for call in calls {
            guard let method = ProtoMethod(rawValue: call.method) else { continue }
            perform(react(method, call.message), to: call.handle, on: connection)
        }
    }

    func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            if case .ended(_, let reason) = event { state.withLock { $0.ended.append(reason) } }
        }
    }

    private func react(_ method: ProtoMethod, _ request: [UInt8]) -> Reaction {
        if method == .registerClient {
            let client = state.withLock { state in
                state.clients += 1
                return state.clients
            }
            return .reply(ProtoRegisterClientResponse.with { $0.clientID = 100 + client })
        }
        // Clients ask who leads beside everything else; a scripted node knows nobody.
        if method == .status { return .reply(ProtoStatusResponse.with { $0.leaderEndpoint = leaderEndpoint }) }
        let number = state.withLock { state in
            state.calls.append((method, request))
            return state.calls.count { $0.method == method }
        }
        return script(method, request, number)
    }

    private func perform(_ reaction: Reaction, to call: CallHandle, on connection: ServerConnection) {
        switch reaction {
        case .reply(let message): connection.reply(message, on: call)
        case .messages(let messages, let ending):
            for message in messages { connection.send(message, on: call) }
            switch ending {
            case .open: break
            case .success: connection.finish(call, .ok)
            case .refuse(let status, let detail): refuse(call, status, detail, on: connection)
            case .loseConnection:
                connection.flushAnswers()
                connection.close()
            }
        case .refuse(let status, let detail): refuse(call, status, detail, on: connection)
        case .loseConnection: connection.close()
        case .silence: break
        }
    }

    private func refuse(
        _ call: CallHandle, _ status: GRPCStatus, _ detail: ProtoErrorDetail, on connection: ServerConnection
    ) {
        var trailers = Metadata()
        trailers.add("esper-error-bin", bytes: (try? detail.serializedBytes()) ?? [])
        connection.finish(call, status, trailers)
    }
}

/// A scripted node on a free port.
struct ScriptedServer {
    let service: ScriptedService
    let channel: any Channel

    var port: Int { channel.localAddress?.port ?? 0 }
    var endpoint: String { "127.0.0.1:\(port)" }

    static func start(
        on group: any EventLoopGroup, leaderEndpoint: String = "", _ script: @escaping ScriptedService.Script
    ) async throws -> ScriptedServer {
        let service = ScriptedService(leaderEndpoint: leaderEndpoint, script)
        let server = GRPCServer(service: service, methods: ScriptedService.methods)
        let channel = try await server.bind(
            host: "127.0.0.1", port: 0, on: group, tls: TestFiles.shared.serverContext, principal: { _ in "" })
        return ScriptedServer(service: service, channel: channel)
    }

    /// One scripted node and a client of it, stopped at the end.
    static func run(
        options: ClientOptions = .impatient, _ script: @escaping ScriptedService.Script,
        _ body: (ScriptedServer, EsperClient) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let server = try await start(on: group, script)
        let client = try EsperClient(
            TestFiles.shared.settings([server.endpoint]), options: options, eventLoop: group.next())
        do {
            try await body(server, client)
        } catch {
            client.close()
            try? await group.shutdownGracefully()
            throw error
        }
        client.close()
        try await server.channel.close()
        try await group.shutdownGracefully()
    }
}

extension ClientOptions {
    /// Quick enough for tests of failures.
    static var impatient: ClientOptions {
        var options = ClientOptions()
        options.timeout = .seconds(2)
        options.attemptTimeout = .milliseconds(300)
        options.firstPause = .milliseconds(1)
        options.longestPause = .milliseconds(20)
        options.maximumAttempts = 1000
        return options
    }
}

/// Certificates for a node and a client, and the client's as files.
struct TestFiles {
    let serverContext: NIOSSLContext
    let directory: URL

    static let shared: TestFiles = {
        do {
            return try TestFiles()
        } catch {
            fatalError("cannot make certificates: \(error)")
        }
    }()

    private init() throws {
        let now = Date()
        let authority = try CertificateAuthority(newFor: "test.local", validFor: 86_400, now: now)
        let node = try authority.issue(.node, name: "n1", hosts: ["127.0.0.1"], validFor: 86_400, now: now)
        let client = try authority.issue(.client, name: "tester", validFor: 86_400, now: now)
        let authorityPEM = try authority.certificatePEM
        let credentials = try TLSCredentials(
            certificatePEM: node.certificatePEM, privateKeyPEM: node.privateKeyPEM, authorityPEM: authorityPEM, now: now
        )
        serverContext = try NIOSSLContext(
            configuration: credentials.apiServerConfiguration(applicationProtocols: ["h2"]))
        directory = FileManager.default.temporaryDirectory.appending(path: "esper-client-tests-\(getpid())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        for (name, text) in [
            ("ca", authorityPEM), ("client", client.certificatePEM), ("key", client.privateKeyPEM),
        ] {
            let file = directory.appending(path: "\(name).pem")
            try Data(text.utf8).write(to: file)
            // A private key that others may read is refused.
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
        }
    }

    func settings(_ endpoints: [String]) -> ClientSettings {
        ClientSettings(
            endpoints: endpoints, authority: path("ca"), certificate: path("client"), privateKey: path("key"))
    }

    private func path(_ name: String) -> String { directory.appending(path: "\(name).pem").path }
}

/// Asks until it holds, a turn of an event loop between two askings; the suite's time limit ends what never does.
func eventually(_ condition: () async throws -> Bool) async throws {
    let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
    while try await !condition() {
        try Task.checkCancellation()
        try await eventLoop.scheduleTask(in: .milliseconds(2)) {}.futureResult.get()
    }
}
