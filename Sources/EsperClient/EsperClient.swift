internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import GRPCTransport
internal import Identity
public import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import SwiftProtobuf

/// A client of one cluster, for any number of tasks and threads.
///
/// Connects when first needed, asks the leader where it knows one and any node otherwise, and repeats what failed while
/// that can have no second effect: reads always, commands because each carries a request id. What remains is told apart
/// in ``EsperError/outcome``.
public final class EsperClient: Sendable {
    /// Callbacks of the ``startPut(_:_:session:completion:)`` family run here; operations started on it cost no wake-up.
    public let eventLoop: any EventLoop
    let engine: CallEngine
    let options: ClientOptions

    /// - Parameter eventLoop: nil takes one of the process-wide loops.
    /// - Throws: ``EsperError`` with code ``EsperError/Code/settings``.
    public init(
        _ settings: ClientSettings, options: ClientOptions = ClientOptions(), eventLoop: (any EventLoop)? = nil
    ) throws(EsperError) {
        let endpoints = settings.endpoints.compactMap { HostPort(endpoint: $0) }
        guard !endpoints.isEmpty else { throw Self.settings("no endpoint is known") }
        let context: NIOSSLContext
        do {
            let credentials = try TLSCredentials(
                certificateFile: settings.certificate, privateKeyFile: settings.privateKey,
                authorityFile: settings.authority, now: Date())
            context = try NIOSSLContext(configuration: credentials.apiClientConfiguration(applicationProtocols: ["h2"]))
        } catch {
            throw Self.settings("\(error) (ca \(settings.authority), certificate \(settings.certificate))")
        }
        let eventLoop = eventLoop ?? MultiThreadedEventLoopGroup.singleton.any()
        self.eventLoop = eventLoop
        self.options = options
        engine = CallEngine(
            eventLoop: eventLoop,
            endpoints: Endpoints(
                endpoints, startingAt: Int.random(in: 0..<endpoints.count), tls: context,
                connectTimeout: TimeAmount(options.connectTimeout), eventLoop: eventLoop),
            options: options)
    }

    /// Reads `client.yaml`; see ``ClientSettings/load(_:)``.
    public convenience init(
        settingsFile: String, options: ClientOptions = ClientOptions(), eventLoop: (any EventLoop)? = nil
    ) throws(EsperError) {
        try self.init(try ClientSettings.load(settingsFile), options: options, eventLoop: eventLoop)
    }

    /// Closes all connections; what is under way fails with code `closed`.
    public func close() { engine.close() }

    private static func settings(_ message: String) -> EsperError {
        EsperError(code: EsperError.Code.settings, message: message, outcome: .notCommitted)
    }

    // MARK: For the operations in the extensions

    func run<Response: Message>(_ operation: Operation, _: Response.Type) async throws(EsperError) -> Response {
        let result: Result<Response, EsperError>
        if Task.isCancelled {
            throw EsperError(code: EsperError.Code.cancelled, message: "the task is cancelled", outcome: .notCommitted)
        }
        let pending = PendingOperation()
        result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let handle = start(operation, Response.self) { continuation.resume(returning: $0) }
                pending.started(handle)
            }
        } onCancel: {
            pending.cancel()
        }
        return try result.get()
    }

    /// As ``run(_:_:)``, whatever becomes of the task: for what must be put in order before it ends.
    func runUncancelled<Response: Message>(
        _ operation: Operation, _: Response.Type
    ) async throws(EsperError) -> Response {
        let result: Result<Response, EsperError> = await withCheckedContinuation { continuation in
            start(operation, Response.self) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    @discardableResult
    func start<Response: Message>(
        _ operation: Operation, _: Response.Type,
        completion: @escaping @Sendable (Result<Response, EsperError>) -> Void
    ) -> OperationHandle {
        let isMutating = operation.isMutating
        return engine.perform(operation) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let reply):
                do {
                    completion(.success(try Response(serializedBytes: reply.message)))
                } catch {
                    completion(
                        .failure(
                            EsperError(
                                code: EsperError.Code.malformedAnswer, message: "\(error)",
                                outcome: isMutating ? .unknown : .notCommitted)))
                }
            }
        }
    }
}
