internal import Synchronization
public import KernelCache
public import Logging
public import FoundationEssentials
public import NIOCore
public import EsperTypes
internal import Metrics
internal import NIOPosix
internal import NIOSSL
internal import NIOTLS

/// A port that speaks the Redis protocol, before an ``KernelCache/ArtifactCache``.
public final class RedisDoor: Sendable {
    private let channel: any Channel
    private let door: DoorContext
    private let loops: [BoundLoop]
    /// Where changes become invalidations, one after the other.
    private let teller: any EventLoop

    /// The port that is bound, also when the system chose it.
    public var port: Int { channel.localAddress?.port ?? 0 }

    private let credentials: RedisDoorCredentials?

    /// Binds the port and serves until ``stop(within:)``.
    ///
    /// - Parameters:
    ///   - hashes: where hashes are kept; nil: there are none.
    ///   - tls: nil: plain text.
    public static func start(
        _ options: RedisDoorOptions, cache: any ArtifactCache, hashes: (any HashStore)? = nil,
        tls: RedisDoorTLS? = nil, date: @escaping @Sendable () -> Date = { Date() }, clock: DoorClock,
        facts: DoorFacts, on group: any EventLoopGroup, logger: Logger
    ) async throws -> RedisDoor {
        let door = DoorContext(
            cache: cache, hashes: hashes, options: options, clock: clock, facts: facts, logger: logger)
        let credentials = try tls.map { try RedisDoorCredentials($0, date: date) }
        var loops: [ObjectIdentifier: BoundLoop] = [:]
        for loop in group.makeIterator() {
            loops[ObjectIdentifier(loop)] = try await loop.submit {
                BoundLoop(
                    eventLoop: loop, bound: NIOLoopBound(DoorLoop(door: door, eventLoop: loop), eventLoop: loop))
            }.get()
        }
        let table = loops
        door.loops.withLock { $0 = Array(table.values) }
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 511)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let loop = table[ObjectIdentifier(channel.eventLoop)]?.value else { return }
                    try attach(channel, loop, credentials)
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 512 << 10))
            .bind(host: options.host, port: options.port).get()
        return RedisDoor(channel: channel, door: door, loops: Array(loops.values), credentials: credentials)
    }

    private init(channel: any Channel, door: DoorContext, loops: [BoundLoop], credentials: RedisDoorCredentials?) {
        self.credentials = credentials
        self.channel = channel
        self.door = door
        self.loops = loops
        teller = channel.eventLoop
    }

    private static func attach(
        _ channel: any Channel, _ loop: DoorLoop, _ credentials: RedisDoorCredentials?
    ) throws {
        let door = loop.door
        guard door.totals.opened(atMost: door.options.maximumConnections) else {
            door.metrics.refusedConnections.increment()
            channel.writeAndFlush(ByteBuffer(string: "-ERR max number of clients reached\r\n")).whenComplete { _ in
                channel.close(promise: nil)
            }
            return
        }
        let begin = { (certificate: String?) in
            let session = RedisSession(
                door: door, id: door.totals.nextConnection(), certificate: certificate,
                remote: written(channel.remoteAddress), local: written(channel.localAddress), start: loop.coarseNow)
            try channel.pipeline.syncOperations.addHandler(RedisConnection(session: session, loop: loop))
        }
        guard let credentials else { return try begin(nil) }
        let gate = RedisTLSGate(
            timeout: .seconds(10), begin: begin,
            identify: { certificate in credentials.name(of: certificate) }, failed: { door.totals.closed() })
        try channel.pipeline.syncOperations.addHandlers(credentials.handler(), gate)
    }

    /// Invalidates what clients keep of these names, whose meaning is another one on this node from now on. From one thread at a
    /// time, in the order of the changes; costs next to nothing while nobody tracks.
    ///
    /// - Parameter changes: full names with the versions they have now.
    public func changed(_ changes: some Sequence<(name: [UInt8], version: LogIndex)>) {
        guard door.tracking.hasListeners else { return }
        let changes = changes.map { TrackingTable.Change(name: $0.name, version: $0.version) }
        // Whoever applies changes has no time to ask each client what it wants to hear of.
        teller.execute { [door] in door.tracking.changed(changes) }
    }

    /// Any name may have changed, and nobody can say which: invalidates all. As ``changed(_:)``.
    public func changedAll() {
        guard door.tracking.hasListeners else { return }
        teller.execute { [door] in door.tracking.changedAll() }
    }

    /// Uses other certificates for connections from now on; those that stand keep theirs. Nothing for a door in plain text.
    ///
    /// - Throws: when the credentials are not accepted; the old ones stay in force.
    public func update(_ tls: RedisDoorTLS) throws { try credentials?.update(tls) }

    /// Other users from now on; connections that have said who they are keep what they are.
    public func update(_ users: [RedisUser]) { door.update(users) }

    private static func written(_ address: SocketAddress?) -> String {
        guard let address, let host = address.ipAddress, let port = address.port else { return "?:0" }
        return host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Accepts nothing more, gives requests under way the time to be answered, and closes what is left.
    public func stop(within limit: Duration) async {
        // Closing fails only when the channel is closed already.
        try? await channel.close().get()
        for loop in loops {
            await withCheckedContinuation { continuation in
                loop.eventLoop.execute {
                    loop.value.drain(within: TimeAmount(limit)) { continuation.resume() }
                }
            }
        }
    }
}

/// A loop's part of a door, to be carried elsewhere and used on the loop.
struct BoundLoop: Sendable {
    var eventLoop: any EventLoop
    var bound: NIOLoopBound<DoorLoop>

    var value: DoorLoop { bound.value }
}
