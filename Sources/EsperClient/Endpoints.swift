internal import EsperTypes
internal import GRPCTransport
internal import NIOCore
internal import NIOSSL

/// The connections of a client, one for each endpoint, made when first needed. Confined to one event loop.
///
/// An endpoint that cannot be reached, or did not answer in time, is passed over for a while unless there is no other.
///
/// `@unchecked Sendable`: used on `eventLoop` alone, which ``CallEngine`` checks at its entry points.
final class Endpoints: @unchecked Sendable {
    private struct Entry {
        let endpoint: HostPort
        var connection: ClientConnection?
        var connecting: EventLoopFuture<ClientConnection>?
        var avoidUntil: NIODeadline = .uptimeNanoseconds(0)
    }

    private let eventLoop: any EventLoop
    private let tls: NIOSSLContext
    private let connectTimeout: TimeAmount
    private var entries: [Entry]
    private var current: Int
    private(set) var leader: HostPort?
    private var isClosed = false

    init(
        _ endpoints: [HostPort], startingAt start: Int, tls: NIOSSLContext, connectTimeout: TimeAmount,
        eventLoop: any EventLoop
    ) {
        self.eventLoop = eventLoop
        self.tls = tls
        self.connectTimeout = connectTimeout
        entries = endpoints.map { Entry(endpoint: $0) }
        current = start % endpoints.count
    }

    /// Follows a hint, also to an endpoint that was not configured: its certificate is judged like any other.
    func leaderIs(_ endpoint: HostPort?) {
        leader = endpoint
        guard let endpoint, !entries.contains(where: { $0.endpoint == endpoint }) else { return }
        // Members come and go; what nobody configured is bounded.
        if entries.count < 64 { entries.append(Entry(endpoint: endpoint)) }
    }

    /// Which endpoint to ask now.
    func choose(preferLeader: Bool, now: NIODeadline) -> HostPort {
        if preferLeader, let leader,
            let entry = entries.first(where: { $0.endpoint == leader }), entry.avoidUntil <= now
        {
            return leader
        }
        for offset in 0..<entries.count {
            let index = (current + offset) % entries.count
            if entries[index].avoidUntil <= now {
                current = index
                return entries[index].endpoint
            }
        }
        let soonest = entries.indices.min { entries[$0].avoidUntil < entries[$1].avoidUntil } ?? 0
        return entries[soonest].endpoint
    }

    /// Passes an endpoint over for a while, and does not take it for the leader any more.
    func avoid(_ endpoint: HostPort, for period: TimeAmount, now: NIODeadline) {
        if leader == endpoint { leader = nil }
        guard let index = entries.firstIndex(where: { $0.endpoint == endpoint }) else { return }
        entries[index].avoidUntil = now + period
        if current == index { current = (current + 1) % entries.count }
    }

    /// The connection to an endpoint: there already, or being made.
    func connection(to endpoint: HostPort) -> EventLoopFuture<ClientConnection> {
        guard !isClosed, let index = entries.firstIndex(where: { $0.endpoint == endpoint }) else {
            let status = GRPCStatus(.unavailable, "the client is closed")
            return eventLoop.makeFailedFuture(CallFailure(status, mayHaveArrived: false))
        }
        if let connection = entries[index].connection {
            if connection.isUsable { return eventLoop.makeSucceededFuture(connection) }
            entries[index].connection = nil
        }
        if let connecting = entries[index].connecting { return connecting }
        let connecting = ClientConnection.connect(
            host: endpoint.host, port: endpoint.port, tls: tls, on: eventLoop, timeout: connectTimeout,
            options: Self.options)
        entries[index].connecting = connecting
        connecting.whenComplete { result in self.connected(endpoint, result) }
        return connecting
    }

    /// The connection, when it stands: what a hot path asks before it takes the slower way.
    func standing(_ endpoint: HostPort) -> ClientConnection? {
        guard let entry = entries.first(where: { $0.endpoint == endpoint }), let connection = entry.connection,
            connection.isUsable
        else { return nil }
        return connection
    }

    func close() {
        isClosed = true
        for entry in entries { entry.connection?.close() }
    }

    private func connected(_ endpoint: HostPort, _ result: Result<ClientConnection, any Error>) {
        guard let index = entries.firstIndex(where: { $0.endpoint == endpoint }) else { return }
        entries[index].connecting = nil
        guard case .success(let connection) = result else { return }
        if isClosed {
            connection.close()
        } else {
            entries[index].connection = connection
            entries[index].avoidUntil = .uptimeNanoseconds(0)
        }
    }

    private static let options: TransportOptions = {
        var options = TransportOptions.client
        options.keepAliveInterval = .seconds(3)
        options.keepAliveTimeout = .seconds(3)
        return options
    }()
}
