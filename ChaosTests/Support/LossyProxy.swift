import NIOCore
import NIOPosix
import Synchronization

/// Stands between clients and one node, and can lose what the node answers.
final class LossyProxy: Sendable {
    private let listener: any Channel
    private let shared: Shared

    /// What the connections look at.
    fileprivate final class Shared: Sendable {
        let losesReplies = Atomic(false)
        /// Connections are numbered; up to this one they lose replies until they are closed.
        let doomedThrough = Atomic(0)
        let connections = Atomic(0)
        let channels = Mutex<[ObjectIdentifier: any Channel]>([:])
    }

    private init(_ listener: any Channel, _ shared: Shared) {
        self.listener = listener
        self.shared = shared
    }

    /// - Parameter port: 0: any that is free.
    static func start(on port: Int = 0, to upstream: Int) async throws -> LossyProxy {
        let shared = Shared()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                let number = shared.connections.add(1, ordering: .sequentiallyConsistent).newValue
                return ClientBootstrap(group: client.eventLoop)
                    .channelInitializer { node in
                        node.pipeline.addHandler(Pump(number, to: client, carriesReplies: true, shared))
                    }
                    .connect(host: "127.0.0.1", port: upstream)
                    .flatMap { node in client.pipeline.addHandler(Pump(number, to: node, carriesReplies: false, shared))
                    }
                    .flatMap { client.setOption(.autoRead, value: true) }
            }
            .bind(host: "127.0.0.1", port: port).get()
        return LossyProxy(listener, shared)
    }

    var port: Int { listener.localAddress?.port ?? 0 }

    /// From now on requests arrive and answers do not.
    func loseReplies() { shared.losesReplies.store(true, ordering: .sequentiallyConsistent) }

    /// Closes every connection, without a reply that comes now; new ones work.
    func recover() {
        let newest = shared.connections.load(ordering: .sequentiallyConsistent)
        shared.doomedThrough.store(newest, ordering: .sequentiallyConsistent)
        shared.losesReplies.store(false, ordering: .sequentiallyConsistent)
        for channel in shared.channels.withLock({ Array($0.values) }) { channel.close(promise: nil) }
    }

    func stop() async throws {
        recover()
        try await listener.close()
    }
}

/// Carries bytes one way, and closes the other end with its own.
private final class Pump: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    private let number: Int
    private let other: any Channel
    private let carriesReplies: Bool
    private let shared: LossyProxy.Shared

    init(_ number: Int, to other: any Channel, carriesReplies: Bool, _ shared: LossyProxy.Shared) {
        self.number = number
        self.other = other
        self.carriesReplies = carriesReplies
        self.shared = shared
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        shared.channels.withLock { $0[ObjectIdentifier(channel)] = channel }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if carriesReplies, isLossy { return }
        other.writeAndFlush(unwrapInboundIn(data), promise: nil)
    }

    private var isLossy: Bool {
        shared.losesReplies.load(ordering: .sequentiallyConsistent)
            || number <= shared.doomedThrough.load(ordering: .sequentiallyConsistent)
    }

    func channelInactive(context: ChannelHandlerContext) {
        shared.channels.withLock { _ = $0.removeValue(forKey: ObjectIdentifier(context.channel)) }
        other.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
