import EsperClient
import EsperTypes
import EtcdProtocol
import GRPCTransport
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import SwiftProtobuf

/// A connection that speaks etcd's API, to Esper or to etcd itself.
struct EtcdConnection: LoadConnection {
    /// What a client has from one operation to the next.
    ///
    /// `@unchecked Sendable`: touched on the connection's event loop alone, where all callbacks come.
    final class WorkerState: @unchecked Sendable {
        var lease: Int64 = 0
        /// A call of `LeaseKeepAlive`, one request in flight.
        var keepAlives: ClientStream?
        var answered: (@Sendable (Result<Void, EsperError>) -> Void)?
        /// What the client's own key holds.
        var value: [UInt8]?
    }

    private static let timeout = TimeAmount.seconds(15)

    let connection: ClientConnection

    var eventLoop: any EventLoop { connection.eventLoop }

    func close() { connection.close() }

    /// One connection to each endpoint in turn.
    static func connect(
        _ settings: ClientSettings, count: Int, on group: any EventLoopGroup
    ) async throws -> [(client: EtcdConnection, endpoint: String)] {
        let tls = try NIOSSLContext(configuration: configuration(settings))
        var connections: [(client: EtcdConnection, endpoint: String)] = []
        for number in 0..<count {
            let endpoint = settings.endpoints[number % settings.endpoints.count]
            guard let place = HostPort(endpoint) else { throw CommandFailure(.usage, "\(endpoint) is not HOST:PORT") }
            do {
                let connection = try await ClientConnection.connect(
                    host: place.host, port: place.port, tls: tls, on: group.next()
                ).get()
                connections.append((EtcdConnection(connection: connection), endpoint))
            } catch {
                throw CommandFailure("\(endpoint) cannot be reached: \(error)")
            }
        }
        return connections
    }

    /// As etcd's clients have it: any certificate of the authority, with the server's address in it.
    private static func configuration(_ settings: ClientSettings) throws -> TLSConfiguration {
        do {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.trustRoots = .file(settings.authority)
            configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(settings.certificate).map {
                .certificate($0)
            }
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: settings.privateKey, format: .pem))
            configuration.applicationProtocols = ["h2"]
            return configuration
        } catch {
            throw CommandFailure(
                .usage, "the certificates that the configuration names cannot be used: \(error)")
        }
    }

    // MARK: - Calls

    func start<Answer: Message>(
        _ method: EtcdMethod, _ request: some Message, _: Answer.Type,
        _ completion: @escaping @Sendable (Result<Answer, EsperError>) -> Void
    ) {
        let message: [UInt8]
        do {
            message = try request.serializedBytes()
        } catch {
            return completion(.failure(EsperError(code: "internal", message: "\(error)", outcome: .notCommitted)))
        }
        start(method, message) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let answer):
                do {
                    completion(.success(try Answer(serializedBytes: answer)))
                } catch {
                    completion(.failure(EsperError(code: "malformed", message: "\(error)", outcome: .unknown)))
                }
            }
        }
    }

    /// A call whose messages are written and read by whoever asks; see ``EtcdMessages``.
    func start(
        _ method: EtcdMethod, _ message: [UInt8],
        _ completion: @escaping @Sendable (Result<[UInt8], EsperError>) -> Void
    ) {
        connection.start(ClientCall(path: method.path, message: message, timeout: Self.timeout)) { result in
            completion(result.map(\.message).mapError { EsperError($0) })
        }
    }

    func call<Answer: Message>(_ method: EtcdMethod, _ request: some Message, _ answer: Answer.Type) async throws
        -> Answer
    {
        try await withCheckedThrowingContinuation { continuation in
            start(method, request, answer) { continuation.resume(with: $0) }
        }
    }
}

extension EsperError {
    init(_ failure: GRPCTransport.CallFailure) {
        self.init(
            code: "\(failure.status.code)", message: failure.status.message,
            outcome: failure.mayHaveArrived ? .unknown : .notCommitted)
    }
}
