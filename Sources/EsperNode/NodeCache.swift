import APIDoor
import CacheCore
import EsperTypes
import GRPCTransport
import Identity
import KernelCache
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import RaftRuntime
import RedisDoor

/// The kernel cache of this node: the service with its tiers and peers, and the doors before it.
final class NodeCache: Sendable {
    let service: CacheService
    private let tiers: NodeTiers
    private let peers: CachePeers
    private let door: CacheDoor
    private let peerDoor: CachePeerDoor
    /// Nil: there is none.
    let redisDoor: RedisDoor?
    /// What is due by time, for the names and for the memory.
    private let keepers: Task<Void, Never>

    private init(
        service: CacheService, tiers: NodeTiers, peers: CachePeers, redisDoor: RedisDoor?, keepers: Task<Void, Never>
    ) {
        self.service = service
        self.tiers = tiers
        self.peers = peers
        self.redisDoor = redisDoor
        self.keepers = keepers
        door = CacheDoor(cache: service)
        peerDoor = CachePeerDoor(service)
    }

    /// Opens the directory of blobs, which takes its time; nil when the settings want no cache.
    ///
    /// - Throws: ``StartError`` when it cannot be used.
    static func openDirectory(_ settings: NodeSettings, on eventLoop: any EventLoop) async throws -> BlobDirectory? {
        guard settings.cache.isEnabled else { return nil }
        let path = settings.cache.directory ?? settings.dataDirectory + "/cache"
        return try await NIOThreadPool.singleton.runIfActive { try BlobDirectory(path: path, eventLoop: eventLoop) }
    }

    /// Nil without a directory of blobs.
    ///
    /// - Throws: ``StartError`` when the settings of a tier make no sense or the Redis door cannot be opened; tiers that are down
    ///   are no obstacle.
    static func start(
        _ settings: NodeSettings, disk: BlobDirectory?, node: NodeHandle, credentials: TLSCredentials,
        on group: any EventLoopGroup, logger: Logger
    ) async throws -> NodeCache? {
        let cache = settings.cache
        guard let disk else { return nil }
        var random = SystemRandomNumberGenerator()
        var options = CacheOptions()
        options.node = settings.name
        options.copies = cache.copies
        options.garbageGrace = cache.garbageAfter
        options.scrubShare = Double(cache.scrubPercent) / 100
        options.syncInterval = cache.syncInterval
        options.warmBytesPerSecond = UInt64(cache.warmBytesPerSecond)
        options.seed = random.next()
        options.weight = UInt32(clamping: cache.weight)
        options.moveRate = cache.moveBytesPerSecond.map { UInt64($0) }
        let memory = MemoryTier(
            MemoryTier.Options(
                limitBytes: UInt64(cache.memoryBytes), policy: ScorerRegistry.policy(named: cache.policy) ?? .s3fifo,
                seed: random.next()))
        let trace = cache.trace.map {
            TraceRecorder(TraceRecorder.Options(path: $0, samplingRatio: UInt32(clamping: cache.traceSampling)))
        }
        let peers = CachePeers(me: node.nodeID, tls: try Self.context(credentials), on: group)
        let tiers = try await NodeTiers.start(settings, node: node, on: group, logger: logger)
        let service = CacheService(
            CacheService.Parts(
                names: NodeNames(node), memory: memory, disk: disk, outer: tiers.outer, rows: tiers.rows, peers: peers,
                eventLoop: group.any(), options: options, trace: trace, logger: logger))
        service.start()
        do {
            let redisDoor = try await openRedisDoor(
                settings, node, service, memory, credentials, on: group, logger)
            let keepers = Task {
                async let names: Void = NameKeeper(node).run()
                async let bytes: Void = MemoryKeeper(tier: memory, trace: trace, logger: logger).run()
                _ = await (names, bytes)
            }
            return NodeCache(service: service, tiers: tiers, peers: peers, redisDoor: redisDoor, keepers: keepers)
        } catch {
            await service.stop()
            await tiers.stop()
            throw error
        }
    }

    /// What the API port serves of it.
    var services: [(any GRPCService, MethodTable)] { [(door, CacheDoor.methods), (peerDoor, CachePeerDoor.methods)] }

    /// For connections to peers from now on.
    func updateCredentials(_ credentials: TLSCredentials) throws { peers.use(try Self.context(credentials)) }

    private static func context(_ credentials: TLSCredentials) throws -> NIOSSLContext {
        try NIOSSLContext(configuration: credentials.apiClientConfiguration(applicationProtocols: ["h2"]))
    }

    /// Has this node's shards move to others; returns when they have, or at the end of the time.
    func handOver(within limit: Duration) async { await service.handOver(by: NodeClock.now() + limit) }

    func drain() { service.drain() }

    func stop(within limit: Duration) async {
        keepers.cancel()
        await keepers.value
        await redisDoor?.stop(within: limit)
        await service.stop()
        await tiers.stop()
    }
}
