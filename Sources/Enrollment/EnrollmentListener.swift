public import Logging
internal import Metrics
public import NIOCore
internal import NIOPosix
public import NIOSSL
internal import Synchronization

/// The port at which hosts without a certificate ask to become nodes.
///
/// TLS 1.3 with this node's certificate and the authority's beside it; none is asked for. One question, one answer, and the
/// connection is closed. Whoever has no token competes only with others that have none: connections are bounded, the oldest
/// that has not asked yet makes room for the newest, and each has a deadline.
public final class EnrollmentListener: Sendable {
    /// Decides over a request and carries it out. Never called more than ``maximumConnections`` times at once.
    public typealias Enroll = @Sendable (EnrollmentRequest) async -> EnrollmentAnswer

    public static let maximumConnections = 32
    /// For ALPN.
    public static let applicationProtocol = EnrollmentFrame.applicationProtocol
    /// From the connection to the whole request.
    private static let requestDeadline = TimeAmount.seconds(10)

    private let channel: any Channel
    private let table: EnrollmentTable
    private let served: ServedContext

    /// The port that is bound, also when the system chose it.
    public var port: Int { channel.localAddress?.port ?? 0 }

    /// Binds the port and serves until ``stop()``.
    ///
    /// - Throws: when the port cannot be bound or the certificates are not accepted.
    public static func start(
        host: String, port: Int, tls configuration: TLSConfiguration, on group: any EventLoopGroup, logger: Logger,
        enroll: @escaping Enroll
    ) async throws -> EnrollmentListener {
        let served = ServedContext(try NIOSSLContext(configuration: configuration))
        let table = EnrollmentTable(maximumConnections: maximumConnections)
        let log = EnrollmentLog(logger: logger)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 64)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard table.admit(channel) else {
                        log.refused(.busy, remote: channel.remoteAddress)
                        throw EnrollmentEnd.busy
                    }
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLServerHandler(context: served.current),
                        EnrollmentConnection(deadline: requestDeadline, enroll: enroll, log: log, table: table))
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .bind(host: host, port: port).get()
        return EnrollmentListener(channel: channel, table: table, served: served)
    }

    private init(channel: any Channel, table: EnrollmentTable, served: ServedContext) {
        self.channel = channel
        self.table = table
        self.served = served
    }

    /// Shows other certificates from now on.
    public func update(tls context: NIOSSLContext) { served.replace(with: context) }

    /// Accepts nothing more and closes what is open; a host whose answer is cut off asks again.
    public func stop() async {
        // Closing fails only when the channel is closed already.
        try? await channel.close().get()
        table.closeAll()
    }
}

/// What new connections are shown.
private final class ServedContext: Sendable {
    private let context: Mutex<NIOSSLContext>

    init(_ context: NIOSSLContext) { self.context = Mutex(context) }

    var current: NIOSSLContext { context.withLock { $0 } }

    func replace(with new: NIOSSLContext) { context.withLock { $0 = new } }
}

/// Every open connection, in the order in which they came.
final class EnrollmentTable: Sendable {
    /// Told to a connection that must make room.
    struct Evicted {}

    private struct State {
        var channels: [(id: ObjectIdentifier, channel: any Channel, hasAsked: Bool)] = []
    }

    private let state = Mutex(State())
    private let maximumConnections: Int
    /// Of hosts that have no certificate yet.
    private let gauge = Gauge(label: "enroll.connections")

    init(maximumConnections: Int) { self.maximumConnections = maximumConnections }

    /// - Returns: false when every place is taken by somebody who has asked and waits for the answer.
    func admit(_ channel: any Channel) -> Bool {
        let (isAdmitted, evicted) = state.withLock { state -> (Bool, (any Channel)?) in
            var evicted: (any Channel)?
            if state.channels.count >= maximumConnections {
                guard let oldest = state.channels.firstIndex(where: { !$0.hasAsked }) else { return (false, nil) }
                evicted = state.channels.remove(at: oldest).channel
            }
            state.channels.append((ObjectIdentifier(channel), channel, false))
            return (true, evicted)
        }
        guard isAdmitted else { return false }
        report()
        evicted?.pipeline.fireUserInboundEventTriggered(Evicted())
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { $0.channels.removeAll { $0.id == ObjectIdentifier(channel) } }
            report()
        }
        return true
    }

    private func report() { gauge.record(state.withLock { $0.channels.count }) }

    func asked(_ channel: any Channel) {
        state.withLock { state in
            guard let position = state.channels.firstIndex(where: { $0.id == ObjectIdentifier(channel) }) else {
                return
            }
            state.channels[position].hasAsked = true
        }
    }

    func closeAll() {
        for (_, channel, _) in state.withLock({ $0.channels }) { channel.close(promise: nil) }
    }
}
