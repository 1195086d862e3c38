import NIOCore
import NIOPosix
import Synchronization

/// Stands between nodes and an HTTP server, and spoils what goes through it, a connection at a time.
final class FaultyProxy: Sendable {
    enum Fault: Hashable, Sendable {
        /// Nobody is there.
        case away
        /// The first request is answered here, by this status line.
        case answer(String)
        /// Requests arrive and are done; their answers are lost with the connection.
        case loseAnswer
        /// Answers break off after so many bytes.
        case cutShort(Int)
        /// The first byte of an answer takes its time.
        case slow(TimeAmount)
    }

    private struct State {
        var fault: Fault?
        /// Connections that get it; nil: all that come.
        var left: Int?
        var spoiled = 0
        var channels: [ObjectIdentifier: any Channel] = [:]
        var held: (start: String, since: String?)?
        var waiting: [ObjectIdentifier: EventLoopPromise<Void>] = [:]
    }

    private let listener: any Channel
    private let state: Shared

    fileprivate final class Shared: Sendable {
        private let state = Mutex(State())

        /// Of a connection that begins.
        func fault() -> Fault? {
            state.withLock { state in
                guard let fault = state.fault, state.left != 0 else { return nil }
                state.left? -= 1
                state.spoiled += 1
                return fault
            }
        }

        func set(_ fault: Fault?, _ left: Int?) -> [any Channel] {
            state.withLock { state in
                (state.fault, state.left, state.spoiled) = (fault, left, 0)
                return Array(state.channels.values)
            }
        }

        var spoiled: Int { state.withLock { $0.spoiled } }

        /// Nil: the request that begins so goes on.
        func wait(_ request: ByteBuffer, on channel: any Channel) -> EventLoopPromise<Void>? {
            state.withLock { state in
                guard let held = state.held else { return nil }
                if let since = held.since {
                    if request.readableBytesView.starts(with: since.utf8) { state.held?.since = nil }
                    return nil
                }
                guard request.readableBytesView.starts(with: held.start.utf8) else { return nil }
                let promise = channel.eventLoop.makePromise(of: Void.self)
                state.waiting[ObjectIdentifier(channel)] = promise
                return promise
            }
        }

        func left(_ channel: any Channel) -> EventLoopPromise<Void>? {
            state.withLock { $0.waiting.removeValue(forKey: ObjectIdentifier(channel)) }
        }

        func hold(_ start: String?, _ since: String?) -> [EventLoopPromise<Void>] {
            state.withLock { state in
                // What waited begins as it had to, and goes on now.
                let isPast = !state.waiting.isEmpty && since.map { state.held?.start.hasPrefix($0) ?? false } ?? false
                state.held = start.map { ($0, isPast ? nil : since) }
                defer { state.waiting = [:] }
                return Array(state.waiting.values)
            }
        }

        var waiting: Int { state.withLock { $0.waiting.count } }

        func opened(_ channel: any Channel) {
            state.withLock { $0.channels[ObjectIdentifier(channel)] = channel }
            channel.closeFuture.whenComplete { _ in
                self.state.withLock { $0.channels[ObjectIdentifier(channel)] = nil }
            }
        }
    }

    private init(_ listener: any Channel, _ state: Shared) {
        self.listener = listener
        self.state = state
    }

    static func start(to upstream: Int) async throws -> FaultyProxy {
        let state = Shared()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                state.opened(client)
                let fault = state.fault()
                if fault == .away { return client.close() }
                return ClientBootstrap(group: client.eventLoop)
                    .channelInitializer { server in
                        server.eventLoop.makeCompletedFuture {
                            try server.pipeline.syncOperations.addHandler(
                                Carrier(to: client, fault, carriesAnswers: true, state))
                        }
                    }
                    .connect(host: "127.0.0.1", port: upstream)
                    .flatMapThrowing { server in
                        try client.pipeline.syncOperations.addHandler(
                            Carrier(to: server, fault, carriesAnswers: false, state))
                    }
                    .flatMap { client.setOption(.autoRead, value: true) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return FaultyProxy(listener, state)
    }

    var port: Int { listener.localAddress?.port ?? 0 }

    /// Connections that had the fault since it was set.
    var spoiled: Int { state.spoiled }

    /// Ends every connection; those that come have the fault, as many as are told, or all.
    func behave(_ fault: Fault?, times: Int? = nil) {
        for channel in state.set(fault, times) { channel.close(promise: nil) }
    }

    /// Requests that begin so wait, until this is called again.
    ///
    /// - Parameter since: those alone that come after one that begins like this, or after one that waited until now and does.
    func hold(_ start: String?, since: String? = nil) {
        for promise in state.hold(start, since) { promise.succeed() }
    }

    /// Requests that wait.
    var waiting: Int { state.waiting }

    func stop() async throws {
        try await listener.close()
        hold(nil)
        behave(nil)
    }
}

/// Carries bytes one way, and closes the other end with its own.
private final class Carrier: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let fault: FaultyProxy.Fault?
    private let carriesAnswers: Bool
    private let state: FaultyProxy.Shared
    private var carried = 0
    /// Of a request that waits.
    private var held: ByteBuffer?

    init(to other: any Channel, _ fault: FaultyProxy.Fault?, carriesAnswers: Bool, _ state: FaultyProxy.Shared) {
        self.other = other
        self.fault = fault
        self.carriesAnswers = carriesAnswers
        self.state = state
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        defer { carried += bytes.readableBytes }
        switch (fault, carriesAnswers) {
        case (.answer(let status), false):
            let answer = "HTTP/1.1 \(status)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            context.writeAndFlush(NIOAny(ByteBuffer(string: answer)), promise: nil)
            context.close(promise: nil)
        case (.loseAnswer, true): context.close(promise: nil)
        case (.cutShort(let length), true) where carried + bytes.readableBytes >= length:
            bytes = bytes.readSlice(length: length - carried) ?? ByteBuffer()
            other.writeAndFlush(bytes, promise: nil)
            context.close(promise: nil)
        case (.slow(let time), true):
            let late = bytes
            other.eventLoop.scheduleTask(in: time) { [other] in other.writeAndFlush(late, promise: nil) }
        case (_, false) where held != nil: held?.writeBuffer(&bytes)
        case (_, false):
            guard let release = state.wait(bytes, on: context.channel) else {
                return other.writeAndFlush(bytes, promise: nil)
            }
            held = bytes
            release.futureResult.assumeIsolated().whenSuccess { [other] in
                if let bytes = self.held.take() { other.writeAndFlush(bytes, promise: nil) }
            }
        default: other.writeAndFlush(bytes, promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        held = nil
        if !carriesAnswers { state.left(context.channel)?.fail(ChannelError.ioOnClosedChannel) }
        other.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
