public import Logging
public import NIOCore
internal import NIOPosix

/// A plaintext port for probes of this host: `/health`, `/ready`, `/metrics` and `/openapi.json`, nothing else.
public final class ProbeListener: Sendable {
    /// The address is not one of this host alone.
    public struct NotLoopback: Error, CustomStringConvertible {
        public var host: String
        public var description: String { "the probe listener needs a loopback address, not \(host)" }
    }

    private static let maximumConnections = 64
    private let channel: any Channel
    private let table: ConnectionTable
    private let server: HTTP1Server

    public var port: Int { channel.localAddress?.port ?? 0 }

    /// - Throws: ``NotLoopback``, or when the port cannot be bound.
    public static func start(
        host: String, port: Int, door: HTTPDoor, on group: any EventLoopGroup, logger: Logger
    ) async throws -> ProbeListener {
        guard host.hasPrefix("127.") || host == "::1" || host == "localhost" else { throw NotLoopback(host: host) }
        let table = ConnectionTable(
            maximumConnections: maximumConnections, maximumUnauthenticated: maximumConnections,
            label: "probe.connections")
        let server = HTTP1Server(
            door: door, idleTimeout: .seconds(10), maximumConnections: maximumConnections, logger: logger)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let connection = HTTPConnection(principal: nil)
                    try table.admit(channel)
                    try table.opened(channel, as: .http1, connection)
                    try server.serve(channel, connection)
                }
            }
            .bind(host: host, port: port).get()
        return ProbeListener(channel: channel, table: table, server: server)
    }

    private init(channel: any Channel, table: ConnectionTable, server: HTTP1Server) {
        self.channel = channel
        self.table = table
        self.server = server
    }

    public func stop() async {
        // Closing fails only when the channel is closed already.
        try? await channel.close().get()
        table.drain()
        table.closeAll()
        await table.http1Finished()
        await server.finish()
    }
}
