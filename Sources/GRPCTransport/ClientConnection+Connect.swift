public import NIOCore
internal import NIOPosix
public import NIOSSL

extension ClientConnection {
    /// Connects with TLS; complete when the server has accepted us and sent its settings.
    ///
    /// - Parameter tls: must offer `h2`. The name (or address) in the server's certificate is checked as its
    ///   configuration says.
    public static func connect(
        host: String, port: Int, tls: NIOSSLContext, on eventLoop: any EventLoop,
        timeout: TimeAmount = .seconds(5), options: TransportOptions = .client
    ) -> EventLoopFuture<ClientConnection> {
        let ready = eventLoop.makePromise(of: ClientConnection.self)
        let isAddress = (try? SocketAddress(ipAddress: host, port: port)) != nil
        let authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        let timer = eventLoop.scheduleTask(in: timeout) {
            ready.fail(CallFailure(GRPCStatus(.unavailable, "no connection in time"), mayHaveArrived: false))
        }
        let channel = ClientBootstrap(group: eventLoop)
            .connectTimeout(timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 512 << 10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let security = try NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : host)
                    try channel.pipeline.syncOperations.addHandler(security)
                    try channel.pipeline.syncOperations.addHandler(
                        HandshakeGate(within: options.handshakeTimeout) { channel, isHTTP2 in
                            guard isHTTP2 else { return false }
                            let connection = ClientConnection(
                                eventLoop: channel.eventLoop, authority: authority, ready: ready, options: options)
                            try channel.pipeline.syncOperations.addHandler(connection)
                            return true
                        })
                }
            }
            .connect(host: host, port: port)
        channel.whenComplete { result in
            switch result {
            case .failure(let error):
                let status = GRPCStatus(.unavailable, ConnectFailure.reason(error))
                ready.fail(CallFailure(status, mayHaveArrived: false))
            case .success(let channel):
                channel.closeFuture.whenComplete { _ in
                    ready.fail(
                        CallFailure(
                            GRPCStatus(.unavailable, "the server closed the connection in the handshake"),
                            mayHaveArrived: false))
                }
                ready.futureResult.whenFailure { _ in channel.close(promise: nil) }
            }
        }
        ready.futureResult.whenComplete { _ in timer.cancel() }
        return ready.futureResult
    }

    /// On a channel that somebody else connects, without TLS: for tests that play the server themselves. On its event loop.
    package static func attached(
        to channel: any Channel, authority: String, options: TransportOptions = .client
    ) throws -> ClientConnection {
        let ready = channel.eventLoop.makePromise(of: ClientConnection.self)
        channel.closeFuture.whenComplete { _ in
            ready.fail(CallFailure(GRPCStatus(.unavailable, "closed"), mayHaveArrived: false))
        }
        let connection = ClientConnection(
            eventLoop: channel.eventLoop, authority: authority, ready: ready, options: options)
        try channel.pipeline.syncOperations.addHandler(connection)
        return connection
    }
}
