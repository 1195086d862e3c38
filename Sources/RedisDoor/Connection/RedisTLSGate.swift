import FoundationEssentials
import Identity
import NIOCore
import NIOSSL
import NIOTLS
import Synchronization

/// What a TLS port shows, and judges clients' certificates by, replaceable while it serves.
final class RedisDoorCredentials: Sendable {
    private struct State {
        var credentials: TLSCredentials
        var context: NIOSSLContext
    }

    private let state: Mutex<State>
    private let date: @Sendable () -> Date

    init(_ tls: RedisDoorTLS, date: @escaping @Sendable () -> Date) throws {
        self.date = date
        state = Mutex(try Self.state(tls))
    }

    func update(_ tls: RedisDoorTLS) throws {
        let new = try Self.state(tls)
        state.withLock { $0 = new }
    }

    func handler() -> NIOSSLServerHandler { NIOSSLServerHandler(context: state.withLock { $0.context }) }

    /// The name in a client's certificate, such as `client/alice`; nil when there is none. One that was shown and is not
    /// accepted fails the handshake before.
    func name(of certificate: NIOSSLCertificate?) -> String? {
        guard let certificate else { return nil }
        let credentials = state.withLock { $0.credentials }
        guard let identity = try? credentials.identity(of: certificate, now: date()) else { return nil }
        return "\(identity.role.rawValue)/\(identity.name)"
    }

    private static func state(_ tls: RedisDoorTLS) throws -> State {
        var configuration = tls.credentials.apiServerConfiguration(
            applicationProtocols: [], acceptsTLS12: tls.acceptsTLS12)
        // Passwords are how most Redis clients say who they are.
        if !tls.requiresCertificates { configuration.certificateVerification = .optionalVerification }
        if let shown = tls.shown {
            configuration.certificateChain = shown.chain.map { .certificate($0) }
            configuration.privateKey = .privateKey(shown.key)
        }
        return State(credentials: tls.credentials, context: try NIOSSLContext(configuration: configuration))
    }
}

/// Waits for the TLS handshake, then makes way for the connection's handler.
final class RedisTLSGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let timeout: TimeAmount
    private let begin: (String?) throws -> Void
    private let identify: (NIOSSLCertificate?) -> String?
    private let failed: () -> Void
    private var timer: Scheduled<Void>?
    private var isDone = false

    init(
        timeout: TimeAmount, begin: @escaping (String?) throws -> Void,
        identify: @escaping (NIOSSLCertificate?) -> String?, failed: @escaping () -> Void
    ) {
        self.timeout = timeout
        self.begin = begin
        self.identify = identify
        self.failed = failed
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { context.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard !isDone, case .handshakeCompleted? = event as? TLSUserEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        isDone = true
        timer?.cancel()
        do {
            let handler = try context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)
            try begin(identify(handler.peerCertificate))
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        } catch {
            failed()
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        if !isDone {
            isDone = true
            failed()
        }
        context.fireChannelInactive()
    }
}
