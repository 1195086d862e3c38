public import NIOCore
internal import NIOPosix
public import NIOSSL
internal import NIOTLS
internal import Synchronization

/// Serves one or several ``GRPCService``s on any number of connections; calls of all of them share each connection.
///
/// Whoever accepts connections for several protocols calls ``attach(to:principal:)`` once ALPN has chosen `h2`;
/// ``bind(host:port:on:tls:principal:)`` is for those that speak gRPC alone.
public final class GRPCServer: Sendable {
    public let health: HealthRegistry
    private let options: TransportOptions
    private let router: MethodRouter
    private let services: [any GRPCService]
    private let metrics: ServerMetrics

    private struct State {
        var connections: [ObjectIdentifier: ServerConnection] = [:]
        var loops: [ObjectIdentifier: Loop] = [:]
        var isDraining = false
        var drained: [EventLoopPromise<Void>] = []
    }

    /// What the connections of one event loop share.
    private struct Loop {
        let mailbox: AnswerMailbox
        let turns: NIOLoopBound<TurnQueue>
    }

    private let state = Mutex(State())

    /// - Parameter services: whoever answers calls, each with the methods that are its own. What belongs to nobody is
    ///   refused in the name of the first.
    public init(
        services: [(service: any GRPCService, methods: MethodTable)], health: HealthRegistry = HealthRegistry(),
        options: TransportOptions = .server
    ) {
        precondition(!services.isEmpty, "a server without a service")
        self.services = services.map(\.service)
        router = MethodRouter(services.map(\.methods))
        self.health = health
        self.options = options
        metrics = ServerMetrics(router)
    }

    public convenience init(
        service: any GRPCService, methods: MethodTable, health: HealthRegistry = HealthRegistry(),
        options: TransportOptions = .server
    ) {
        self.init(services: [(service, methods)], health: health, options: options)
    }

    public var connectionCount: Int { state.withLock { $0.connections.count } }

    /// Bytes of streams' messages that their readers have not taken, on all connections.
    package var queuedMessageBytes: Int { heldBytes.messages }

    /// On all connections.
    package var heldBytes: HeldBytes { metrics.held }

    /// Adds the handler of one accepted connection behind its TLS handler. On the channel's event loop.
    ///
    /// - Parameter principal: who the other end is; services find it at ``ServerConnection/principal``.
    public func attach(to channel: any Channel, principal: String) throws {
        channel.eventLoop.preconditionInEventLoop()
        let loop = loop(of: channel.eventLoop)
        let connection = ServerConnection(
            eventLoop: channel.eventLoop, principal: principal, router: router, services: services, health: health,
            mailbox: loop.mailbox, turns: loop.turns.value, metrics: metrics, options: options,
            closed: { [weak self] in self?.forget($0) })
        let isDraining = state.withLock { state in
            state.connections[ObjectIdentifier(connection)] = connection
            return state.isDraining
        }
        metrics.connected()
        for service in services { service.connected(connection) }
        do {
            try channel.pipeline.syncOperations.addHandler(connection)
        } catch {
            metrics.disconnected(nil)
            forget(connection)
            throw error
        }
        if isDraining { connection.drain() }
    }

    /// Listens with TLS and serves gRPC alone.
    ///
    /// - Parameter principal: names the peer of a connection whose handshake is complete; nil closes it.
    public func bind(
        host: String, port: Int, on group: any EventLoopGroup, tls: NIOSSLContext,
        principal: @escaping @Sendable (NIOSSLCertificate?) -> String?
    ) async throws -> any Channel {
        try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let security = NIOSSLServerHandler(context: tls)
                    try channel.pipeline.syncOperations.addHandler(security)
                    try channel.pipeline.syncOperations.addHandler(
                        HandshakeGate(within: self.options.handshakeTimeout) { channel, isHTTP2 in
                            guard isHTTP2, let principal = principal(security.peerCertificate) else { return false }
                            try self.attach(to: channel, principal: principal)
                            return true
                        })
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 512 << 10))
            .bind(host: host, port: port).get()
    }

    /// Takes no new calls; returns when the present ones have ended, or closes what is left at the deadline.
    public func drain(deadline: NIODeadline, on eventLoop: any EventLoop) async {
        let promise = eventLoop.makePromise(of: Void.self)
        let connections = state.withLock { state in
            state.isDraining = true
            if state.connections.isEmpty { promise.succeed() } else { state.drained.append(promise) }
            return Array(state.connections.values)
        }
        for connection in connections { connection.drain() }
        let timer = eventLoop.scheduleTask(deadline: deadline) { [weak self] in
            for connection in self?.allConnections ?? [] { connection.close() }
        }
        // The promise is succeeded by the last connection, which the timer closes at the latest.
        try? await promise.futureResult.get()
        timer.cancel()
    }

    private var allConnections: [ServerConnection] { state.withLock { Array($0.connections.values) } }

    private func loop(of eventLoop: any EventLoop) -> Loop {
        state.withLock { state in
            if let loop = state.loops[ObjectIdentifier(eventLoop)] { return loop }
            let loop = Loop(
                mailbox: AnswerMailbox(eventLoop: eventLoop),
                turns: NIOLoopBound(TurnQueue(eventLoop: eventLoop), eventLoop: eventLoop))
            state.loops[ObjectIdentifier(eventLoop)] = loop
            return loop
        }
    }

    private func forget(_ connection: ServerConnection) {
        let drained = state.withLock { state in
            state.connections.removeValue(forKey: ObjectIdentifier(connection))
            guard state.connections.isEmpty else { return [EventLoopPromise<Void>]() }
            defer { state.drained = [] }
            return state.drained
        }
        for promise in drained { promise.succeed() }
    }
}

/// Waits for the end of the TLS handshake, then makes way for what serves the connection.
final class HandshakeGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private let timeout: TimeAmount
    private let ready: (any Channel, _ isHTTP2: Bool) throws -> Bool
    private var timer: Scheduled<Void>?

    /// - Parameters:
    ///   - timeout: a handshake that takes longer is given up.
    ///   - ready: installs the handlers; false closes the connection.
    init(within timeout: TimeAmount, _ ready: @escaping (any Channel, _ isHTTP2: Bool) throws -> Bool) {
        self.timeout = timeout
        self.ready = ready
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted(let negotiated) = event as? TLSUserEvent else {
            context.fireUserInboundEventTriggered(event)
            return
        }
        let isServed = (try? ready(context.channel, negotiated == "h2")) ?? false
        if isServed {
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        } else {
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A handshake that fails is the peer's business; the listener counts connections, not this handler.
        context.close(promise: nil)
    }
}
