internal import EsperTypes
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// Connections to one server, each used by one exchange at a time and kept for the next when all went well.
final class HTTPConnections: Sendable {
    /// A request as callers give it.
    struct Request: Sendable {
        var head: HTTPRequestHead
        var body: [UInt8]
        var maximumAnswerBytes: Int
        var patience: Duration
        var deadline: Instant
    }

    private struct State {
        /// The last one was used last.
        var idle: [(channel: any Channel, since: NIODeadline)] = []
        /// In use.
        var busy: [ObjectIdentifier: any Channel] = [:]
        var isClosed = false
    }

    /// Servers close connections that nobody uses; from older ones a request could be lost.
    private static let idleLimit = TimeAmount.seconds(15)
    private static let connectLimit = Duration.seconds(3)

    private let address: HostPort
    private let serverName: String?
    private let tls: NIOSSLContext?
    private let group: any EventLoopGroup
    private let slots: Slots
    private let now: @Sendable () -> Instant
    private let state = Mutex(State())

    /// - Parameter serverName: expected in the certificate; nil when the address is.
    init(
        to address: HostPort, serverName: String?, tls: NIOSSLContext?, maximum: Int, on group: any EventLoopGroup,
        now: @escaping @Sendable () -> Instant
    ) {
        self.address = address
        self.serverName = serverName
        self.tls = tls
        self.group = group
        self.now = now
        slots = Slots(maximum)
    }

    /// Connections that are open.
    var count: Int { state.withLock { $0.busy.count + $0.idle.count { $0.channel.isActive } } }

    /// Sends a request and returns the whole answer.
    ///
    /// - Parameter isFresh: on a new connection, since kept ones may be what failed before.
    func exchange(_ request: Request, isFresh: Bool) async throws(ObjectStoreError) -> HTTPAnswer {
        let eventLoop = group.next()
        let deadline = NIODeadline.now() + TimeAmount(request.deadline - now())
        do throws(Slots.Refusal) {
            try await slots.take(until: deadline, on: eventLoop)
        } catch {
            throw Self.error(error)
        }
        defer { slots.give() }
        let channel = try await connection(request, isFresh: isFresh, on: eventLoop)
        let answer = channel.eventLoop.makePromise(of: HTTPAnswer.self)
        // A connection that closed meanwhile has no handler any more that would answer.
        let taken = channel.eventLoop.makePromise(of: Void.self)
        taken.futureResult.whenFailure { error in
            answer.fail(ObjectStoreError(.unavailable, "the connection closed before it was used: \(error)"))
        }
        channel.write(
            HTTPExchange(
                head: request.head, body: request.body, maximumAnswerBytes: request.maximumAnswerBytes,
                patience: TimeAmount(request.patience), deadline: deadline, answer: answer), promise: taken)
        channel.flush()
        let result = await withTaskCancellationHandler {
            await Self.result(of: answer.futureResult)
        } onCancel: {
            channel.close(promise: nil)
        }
        release(channel, isUsable: (try? result.get()) != nil)
        if Task.isCancelled { throw Self.error(.cancelled) }
        return try result.get()
    }

    /// Closes all connections; calls under way fail, and so do later ones.
    func shutdown() async {
        slots.close()
        let open = state.withLock { state in
            state.isClosed = true
            defer { state.idle = [] }
            return state.idle.map(\.channel) + state.busy.values
        }
        for channel in open {
            // It fails when it is closed already.
            try? await channel.close()
        }
    }

    // MARK: Connections

    private func connection(
        _ request: Request, isFresh: Bool, on eventLoop: any EventLoop
    ) async throws(ObjectStoreError) -> any Channel {
        if !isFresh, let channel = takeIdle() { return channel }
        let opened = try await connect(on: eventLoop, limit: min(request.deadline - now(), Self.connectLimit))
        let channel = opened.channel
        guard keep(channel) else {
            channel.close(promise: nil)
            throw Self.error(.closed)
        }
        let timer = channel.eventLoop.scheduleTask(in: TimeAmount(min(request.deadline - now(), request.patience))) {
            opened.secured.fail(ObjectStoreError(.timedOut, "TLS was not agreed on in time"))
        }
        let result = await withTaskCancellationHandler {
            await Self.result(of: opened.secured.futureResult)
        } onCancel: {
            channel.close(promise: nil)
        }
        timer.cancel()
        do {
            try result.get()
            return channel
        } catch {
            release(channel, isUsable: false)
            throw error
        }
    }

    private func takeIdle() -> (any Channel)? {
        state.withLock { state in
            while let last = state.idle.popLast() {
                guard last.channel.isActive, NIODeadline.now() - last.since < Self.idleLimit else {
                    last.channel.close(promise: nil)
                    continue
                }
                state.busy[ObjectIdentifier(last.channel)] = last.channel
                return last.channel
            }
            return nil
        }
    }

    private func keep(_ channel: any Channel) -> Bool {
        state.withLock { state in
            guard !state.isClosed else { return false }
            state.busy[ObjectIdentifier(channel)] = channel
            return true
        }
    }

    private func release(_ channel: any Channel, isUsable: Bool) {
        let superfluous = state.withLock { state -> [any Channel] in
            state.busy[ObjectIdentifier(channel)] = nil
            let now = NIODeadline.now()
            let old = state.idle.filter { now - $0.since >= Self.idleLimit }.map(\.channel)
            state.idle.removeAll { now - $0.since >= Self.idleLimit || !$0.channel.isActive }
            guard isUsable, channel.isActive, !state.isClosed else { return old + [channel] }
            state.idle.append((channel: channel, since: now))
            return old
        }
        for channel in superfluous { channel.close(promise: nil) }
    }

    /// A connection whose `secured` succeeds when exchanges can begin.
    private func connect(
        on eventLoop: any EventLoop, limit: Duration
    ) async throws(ObjectStoreError) -> (channel: any Channel, secured: EventLoopPromise<Void>) {
        do {
            return try await ClientBootstrap(group: eventLoop)
                .connectTimeout(TimeAmount(limit))
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connect(host: address.host, port: address.port) { [tls, serverName] channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handlers = channel.pipeline.syncOperations
                        let secured = channel.eventLoop.makePromise(of: Void.self)
                        if let tls {
                            try handlers.addHandler(NIOSSLClientHandler(context: tls, serverHostname: serverName))
                        } else {
                            secured.succeed()
                        }
                        try handlers.addHTTPClientHandlers()
                        try handlers.addHandler(HTTPExchangeHandler(secured: secured))
                        return (channel, secured)
                    }
                }
        } catch {
            throw ObjectStoreError(
                Self.isTimeout(error) ? .timedOut : .unavailable, "no connection to \(address): \(Self.reason(error))")
        }
    }

    // MARK: Failures

    private static func result<Value: Sendable>(
        of future: EventLoopFuture<Value>
    ) async -> Result<Value, ObjectStoreError> {
        do {
            return .success(try await future.get())
        } catch let error as ObjectStoreError {
            return .failure(error)
        } catch {
            return .failure(ObjectStoreError(.unavailable, "the connection failed: \(error)"))
        }
    }

    private static func error(_ refusal: Slots.Refusal) -> ObjectStoreError {
        switch refusal {
        case .tooManyWait: ObjectStoreError(.unavailable, "too many calls wait for a connection")
        case .timedOut: ObjectStoreError(.timedOut, "all connections were busy until the deadline")
        case .cancelled: ObjectStoreError(.stopped, "the call was cancelled")
        case .closed: ObjectStoreError(.stopped, "the store was shut down")
        }
    }

    private static func isTimeout(_ error: any Error) -> Bool {
        switch error {
        case let error as NIOConnectionError: error.connectionErrors.contains { isTimeout($0.error) }
        case ChannelError.connectTimeout: true
        default: false
        }
    }

    /// In a few words: NIO's error lists every address with the call that failed.
    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            if let failure = error.dnsAError ?? error.dnsAAAAError, error.connectionErrors.isEmpty {
                "its name cannot be resolved (\(failure))"
            } else {
                error.connectionErrors.first.map { reason($0.error) } ?? "it cannot be reached"
            }
        case ChannelError.connectTimeout: "no answer in time"
        case let error as IOError: IOError(errnoCode: error.errnoCode, reason: "connect").description
        default: "\(error)"
        }
    }
}
