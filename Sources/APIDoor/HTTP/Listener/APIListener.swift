public import FoundationEssentials
internal import HummingbirdCore
public import Identity
public import Logging
public import NIOCore
internal import NIOPosix
internal import NIOSSL

/// The API port: TLS 1.3 (1.2 too where the options say so) with client certificates, the protocol chosen by ALPN.
///
/// `h2` connections are handed to whoever serves gRPC, `http/1.1` ones are served here by an ``HTTPDoor``. A connection
/// that does not come so far (no certificate, a wrong one, no TLS, half a handshake) is closed, counted by reason in
/// `api.connections.refused`, and told to the log, at most one line per reason and second.
public final class APIListener: Sendable {
    /// Installs what serves an `h2` connection; called on the channel's event loop.
    public typealias AttachHTTP2 = @Sendable (_ channel: any Channel, _ principal: String) throws -> Void

    private let channel: any Channel
    private let table: ConnectionTable
    private let server: HTTP1Server
    private let served: ServedCredentials

    /// The port that is bound, also when the system chose it.
    public var port: Int { channel.localAddress?.port ?? 0 }

    /// Binds the port and serves until ``stop(within:)``.
    ///
    /// - Parameter date: the wall clock against which certificates are judged.
    /// - Throws: when the port cannot be bound or the credentials are not accepted.
    public static func start(
        _ options: APIOptions, credentials: TLSCredentials, door: HTTPDoor, on group: any EventLoopGroup,
        logger: Logger, date: @escaping @Sendable () -> Date, attachHTTP2: @escaping AttachHTTP2
    ) async throws -> APIListener {
        let served = try ServedCredentials(credentials, acceptsTLS12: options.acceptsTLS12)
        let table = ConnectionTable(
            maximumConnections: options.maximumConnections, maximumUnauthenticated: options.maximumUnauthenticated)
        let refusals = RefusalLog(logger: logger)
        let server = HTTP1Server(
            door: door, idleTimeout: options.idleTimeout, maximumConnections: options.maximumConnections,
            logger: logger)
        let timeout = TimeAmount(options.handshakeTimeout)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    do throws(RefusedConnection) {
                        try table.admit(channel)
                    } catch {
                        refusals.refused(error, remote: channel.remoteAddress?.description ?? "unknown")
                        throw error
                    }
                    let gate = ConnectionGate(
                        timeout: timeout,
                        opened: { channel, identity, negotiated in
                            let principal = "\(identity.role.rawValue)/\(identity.name)"
                            switch negotiated {
                            case "h2":
                                try table.opened(channel, as: .http2, nil)
                                try attachHTTP2(channel, principal)
                            case "http/1.1":
                                let connection = HTTPConnection(principal: principal)
                                try table.opened(channel, as: .http1, connection)
                                try server.serve(channel, connection)
                            default: throw RefusedConnection.noProtocol(negotiated ?? "none")
                            }
                        },
                        refused: { refusal, channel in
                            refusals.refused(refusal, remote: channel.remoteAddress?.description ?? "unknown")
                        })
                    let tls = served.handler(now: date) { [weak gate] in gate?.verdict = $0 }
                    try channel.pipeline.syncOperations.addHandlers(tls, gate)
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 512 << 10))
            .bind(host: options.host, port: options.port).get()
        return APIListener(channel: channel, table: table, server: server, served: served)
    }

    private init(channel: any Channel, table: ConnectionTable, server: HTTP1Server, served: ServedCredentials) {
        self.served = served
        self.channel = channel
        self.table = table
        self.server = server
    }

    /// Throws what ``updateCredentials(_:)`` would throw.
    public func check(_ credentials: TLSCredentials) throws { try ServedCredentials.check(credentials) }

    /// Uses other certificates for connections from now on; those that stand keep theirs.
    ///
    /// - Throws: when the credentials are not accepted; the old ones stay in force.
    public func updateCredentials(_ credentials: TLSCredentials) throws { try served.update(credentials) }

    /// Accepts nothing more, ends event streams, lets http/1.1 requests finish, and closes what is left when the time
    /// is over. `h2` connections are drained by whoever serves them, meanwhile; those left at the end are closed too.
    public func stop(within limit: Duration) async {
        // Closing fails only when the channel is closed already.
        try? await channel.close().get()
        table.drain()
        let timer = channel.eventLoop.scheduleTask(in: TimeAmount(limit)) { [table] in table.closeAll() }
        await table.http1Finished()
        await server.finish()
        timer.cancel()
    }

    /// Closes every connection that is left, whatever its protocol.
    public func closeConnections() { table.closeAll() }
}
