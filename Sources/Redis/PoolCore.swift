internal import CoreMetrics
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// The connections to one server and the requests for it, confined to one event loop.
///
/// A request goes to the connection with the least in flight, or waits until one has room; another connection is opened when
/// requests wait. There is no attempt without a request: after a failure the next one is made by the first request after a
/// pause. Until then, when no connection is up, requests fail at once with the cause.
final class PoolCore {
    let endpoint: RedisSettings.Endpoint
    let settings: RedisSettings
    private let loop: any EventLoop
    private let tls: NIOSSLContext?
    private let metrics: RedisMetrics
    private let logger: Logger
    /// Told the map of a cluster with each connection that is made; nil: the server is none.
    private let learned: @Sendable (RedisReply?) -> Void

    /// With those that are still being greeted.
    private var connections: [ServerConnection] = []
    /// Attempts that are not that far.
    private var dialling = 0
    private var waiting = CircularBuffer<Request>()
    private var unfinished: [UInt64: Request] = [:]
    private var backoff: Backoff
    private var notBefore = NIODeadline.uptimeNanoseconds(0)
    /// Of the last attempt, if it failed.
    private var failure: RedisError?
    private var isClosed = false
    private var closing: [EventLoopPromise<Void>] = []

    init(
        _ endpoint: RedisSettings.Endpoint, settings: RedisSettings, tls: NIOSSLContext?, on loop: any EventLoop,
        seed: UInt64, metrics: RedisMetrics, logger: Logger, learned: @escaping @Sendable (RedisReply?) -> Void
    ) {
        self.endpoint = endpoint
        self.settings = settings
        self.tls = tls
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.learned = learned
        backoff = Backoff(minimum: settings.minimumBackoff, maximum: settings.maximumBackoff, seed: seed)
    }

    // MARK: Requests

    func submit(_ request: Request) {
        guard !isClosed else {
            return request.finish(.failure(Self.closed))
        }
        guard unfinished.count < settings.maximumRequests else {
            metrics.overloads.increment()
            let count = unfinished.count
            return request.finish(.failure(RedisError(.overloaded, "\(count) requests wait for Redis at \(endpoint)")))
        }
        unfinished[request.id] = request
        metrics.requests.increment()
        request.timer = loop.assumeIsolated().scheduleTask(deadline: request.deadline) {
            self.metrics.deadlinesExceeded.increment()
            let error = RedisError(.deadlineExceeded, "Redis at \(self.endpoint) has not answered in time")
            self.giveUp(request.id, error)
        }
        waiting.append(request)
        dispatch()
    }

    /// Fails the request, if it is not over, and has its connection expect nothing of it for long.
    func giveUp(_ id: UInt64, _ error: RedisError) {
        guard let request = unfinished[id] else { return }
        finish(request, .failure(error))
        if let (connection, since) = request.flight {
            connection.givenUp(request, since: since)
        } else {
            waiting.removeAll { $0 === request }
        }
    }

    func answered(_ request: Request) {
        if let (_, since) = request.flight {
            metrics.requestDuration.recordNanoseconds((NIODeadline.now() - since).nanoseconds)
        }
        finish(request, request.answer)
    }

    private func finish(_ request: Request, _ answer: Request.Answer) {
        guard unfinished.removeValue(forKey: request.id) != nil else { return }
        metrics.requests.decrement()
        request.finish(answer)
    }

    /// Sends what waits and can go, and opens a connection when more waits.
    func dispatch() {
        while let request = waiting.first {
            let free = connections.filter { $0.hasRoom(for: request) }.min { $0.load < $1.load }
            guard let free else { break }
            waiting.removeFirst()
            free.send(request)
        }
        if waiting.isEmpty || isClosed { return }
        let opening = dialling + connections.count { !$0.isOpen }
        if NIODeadline.now() >= notBefore {
            let room = settings.maximumConnections - connections.count - dialling
            for _ in 0..<max(0, min(room, waiting.count - opening)) { dial() }
        }
        if connections.isEmpty, dialling == 0, let failure { failWaiting(failure) }
    }

    private func failWaiting(_ error: RedisError) {
        let refused = waiting
        waiting = []
        for request in refused { finish(request, .failure(error)) }
    }

    // MARK: Connections

    private func dial() {
        dialling += 1
        ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(settings.connectTimeout))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .connect(host: endpoint.host, port: endpoint.port)
            .assumeIsolated()
            .whenComplete { result in
                self.dialling -= 1
                switch result {
                case .success(let channel): self.greet(on: channel)
                case .failure(let error):
                    self.connectFailed(
                        RedisError(.unavailable, "Redis at \(self.endpoint) cannot be reached: \(error)"))
                }
            }
    }

    private func greet(on channel: any Channel) {
        let connection = ServerConnection(of: self)
        do {
            if isClosed { throw Self.closed }
            if let tls {
                // An address is no name to ask for; the certificate is compared with it all the same.
                let isAddress = (try? SocketAddress(ipAddress: endpoint.host, port: 0)) != nil
                let handler = try NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : endpoint.host)
                try channel.pipeline.syncOperations.addHandler(handler)
            }
            connections.append(connection)
            try channel.pipeline.syncOperations.addHandler(connection)
        } catch {
            channel.close(promise: nil)
            connections.removeAll { $0 === connection }
            connectFailed(RedisError(.unavailable, "Redis at \(endpoint) cannot be used: \(error)"))
        }
    }

    /// - Parameter slots: what the server says of its cluster.
    func greeted(slots: RedisReply?) {
        failure = nil
        backoff.reset()
        metrics.connections.increment()
        learned(slots)
        dispatch()
    }

    private func connectFailed(_ error: RedisError) {
        metrics.connectFailures.increment()
        logger.debug("Redis cannot be used", metadata: ["error": "\(error)"])
        // Attempts that failed together are one failure.
        let now = NIODeadline.now()
        if now >= notBefore { notBefore = now + backoff.next() }
        failure = error
        dispatch()
        noteClosed()
    }

    /// - Parameter wasOpen: false when it was never greeted.
    func ended(_ connection: ServerConnection, wasOpen: Bool, lost: CircularBuffer<Request>, _ error: RedisError) {
        connections.removeAll { $0 === connection }
        guard wasOpen else {
            // No request was on it.
            let isLost = error.kind == .connectionLost
            return connectFailed(isLost ? RedisError(.unavailable, error.message) : error)
        }
        metrics.connections.decrement()
        if !isClosed {
            metrics.connectionsLost.increment()
            logger.debug("a connection to Redis ended", metadata: ["error": "\(error)"])
        }
        for request in lost { finish(request, .failure(error)) }
        dispatch()
        noteClosed()
    }

    // MARK: The end

    /// Fails what is unfinished; the promise is kept when the last connection is closed.
    func close(_ promise: EventLoopPromise<Void>) {
        isClosed = true
        closing.append(promise)
        waiting = []
        for request in unfinished.values.sorted(by: { $0.id < $1.id }) { finish(request, .failure(Self.closed)) }
        for connection in connections { connection.end(Self.closed) }
        noteClosed()
    }

    private func noteClosed() {
        guard isClosed, connections.isEmpty, dialling == 0 else { return }
        for promise in closing { promise.succeed() }
        closing = []
    }

    private static let closed = RedisError(.shuttingDown, "the client of Redis is closed")
}
