import CacheCore
import Catalog
import EsperTypes
import Foundation
import GRPCTransport
import Identity
import KernelCache
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// Caches of several nodes in this process, with disks of their own and TLS between them; what they agree on is one state machine.
final class CacheCluster: Sendable {
    struct Node: Sendable {
        var service: CacheService
        var names: AgreedNames
        var memory: MemoryTier
        var disk: BlobDirectory
        var path: String
        var peers: CachePeers
        var server: GRPCServer
        var channel: any Channel
    }

    let agreement = Agreement()
    private let root: String
    private let authority: CertificateAuthority
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    private let nodes = Mutex<[Node]>([])

    private init() throws {
        authority = try CertificateAuthority(newFor: "test.local", validFor: 3600, now: Date())
        root = NSTemporaryDirectory() + "/esper-cache-\(UInt64.random(in: 0 ... .max))"
    }

    /// Runs `body` with every node started; stops them and removes the files, also when it fails.
    static func run(
        _ count: Int, outer: [any BlobTier] = [], rows: BindingTable? = nil, options: CacheOptions = .quick,
        _ body: (CacheCluster) async throws -> Void
    ) async throws {
        let cluster = try CacheCluster()
        do {
            try await cluster.start(count, outer, rows, options)
            try await body(cluster)
        } catch {
            await cluster.shutdown()
            throw error
        }
        await cluster.shutdown()
    }

    subscript(number: Int) -> Node { nodes.withLock { $0[number] } }

    private func start(
        _ count: Int, _ outer: [any BlobTier], _ rows: BindingTable?, _ options: CacheOptions
    ) async throws {
        for number in 1...count { try await add(number, outer, rows, options) }
        for node in nodes.withLock({ $0 }) {
            node.service.start()
            await node.service.refreshMembers()
        }
    }

    /// One more node, which the others get to know.
    func join(_ options: CacheOptions = .quick) async throws {
        let number = nodes.withLock { $0.count } + 1
        try await add(number, [], nil, options)
        self[number - 1].service.start()
        for node in nodes.withLock({ $0 }) { await node.service.refreshMembers() }
    }

    private func add(
        _ number: Int, _ outer: [any BlobTier], _ rows: BindingTable?, _ options: CacheOptions
    ) async throws {
        let name = "n\(number)"
        let id = NodeID(UInt64(number))
        let issued = try authority.issue(.node, name: name, hosts: ["127.0.0.1"], validFor: 3600, now: Date())
        let credentials = try TLSCredentials(
            certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM,
            authorityPEM: authority.certificatePEM, now: Date())
        let names = AgreedNames(id, agreement)
        let memory = MemoryTier(MemoryTier.Options(limitBytes: 64 << 20, seed: UInt64(number)))
        let path = "\(root)/\(name)"
        let disk = try BlobDirectory(path: path)
        let client = try NIOSSLContext(
            configuration: credentials.apiClientConfiguration(applicationProtocols: ["h2"]))
        let peers = CachePeers(me: id, tls: client, on: group)
        var nodeOptions = options
        nodeOptions.node = name
        nodeOptions.seed = UInt64(number)
        let service = CacheService(
            CacheService.Parts(
                names: names, memory: memory, disk: disk, outer: outer, rows: rows, peers: peers,
                eventLoop: group.any(),
                options: nodeOptions, logger: Logger(label: name) { _ in SwiftLogNoOpLogHandler() }))
        let server = GRPCServer(services: [(CachePeerDoor(service), CachePeerDoor.methods)])
        let tls = try NIOSSLContext(
            configuration: credentials.apiServerConfiguration(applicationProtocols: ["h2"], acceptsTLS12: false))
        let channel = try await server.bind(host: "127.0.0.1", port: 0, on: group, tls: tls) { certificate in
            (try? credentials.identity(of: certificate, now: Date())).map { "\($0.role.rawValue)/\($0.name)" }
        }
        let member = CacheMember(
            id: id, name: name, api: HostPort(host: "127.0.0.1", port: channel.localAddress?.port ?? 0))
        nodes.withLock {
            $0.append(
                Node(
                    service: service, names: names, memory: memory, disk: disk, path: path, peers: peers,
                    server: server, channel: channel))
        }
        agreement.become(agreement.members + [member])
    }

    /// Until the map is as wanted. - Throws: after `limit`, with what the map is like.
    func map(
        within limit: Duration = .seconds(60), _ words: String, _ isWanted: (ShardMap) -> Bool
    ) async throws -> ShardMap {
        do {
            return try await eventually(words, within: limit) { agreement.map.flatMap { isWanted($0) ? $0 : nil } }
        } catch let error as WaitedInVain {
            throw WaitedInVain("\(error): \(agreement.map.map(\.summary) ?? "there is no map")")
        }
    }

    /// Once there is a map; many shards move at a time from then on.
    func founded() async throws -> ShardMap {
        _ = try await map("founded") { _ in true }
        _ = agreement.apply(.map(.setThrottle(Throttle(maximumIncoming: 255, maximumOutgoing: 255))), "node/test")
        return try #require(agreement.map)
    }

    /// Until every node acts by the map as it is, and whoever coordinates the name decides about it.
    func coordinated(_ name: [UInt8]) async throws {
        try await until("the name to be coordinated") {
            guard let map = agreement.map else { return false }
            let owner = map[ShardID(of: Digest(hashing: name))].coordinator
            let request = PeerTokenRequest(
                name: name, holder: "nobody", action: .renew(number: 0), epoch: map.epoch.rawValue)
            return nodes.withLock({ $0 }).allSatisfy { node in
                switch node.service.token(request) {
                case .renewed(nil): node.names.nodeID == owner
                case .notOwner(_, let told): node.names.nodeID != owner && told == owner
                default: false
                }
            }
        }
    }

    /// The process is gone, with its memory and its connections; the files stay.
    func kill(_ number: Int) async throws {
        try await cutOff(number)
        await self[number].service.stop()
    }

    /// No other node can be reached from here, nor reaches this.
    func cutOff(_ number: Int) async throws {
        let node = self[number]
        node.peers.update([])
        try await node.channel.close()
        await node.server.drain(deadline: .now(), on: group.any())
    }

    private func shutdown() async {
        for node in nodes.withLock({ $0 }) {
            await node.service.stop()
            try? await node.channel.close()
            await node.server.drain(deadline: .now(), on: group.any())
        }
        try? await group.shutdownGracefully()
        try? FileManager.default.removeItem(atPath: root)
    }
}

extension CacheOptions {
    /// Everything that waits waits for less, so that tests do.
    static var quick: CacheOptions {
        var options = CacheOptions()
        options.nodeLease = .seconds(1)
        options.settling = .zero
        options.copyLimit = .seconds(10)
        options.movePause = .milliseconds(4)
        options.restPause = .milliseconds(10)
        // Whatever else runs beside the tests.
        options.longestProcessorWait = .seconds(3600)
        options.moves.debounce = .milliseconds(50)
        options.moves.repairDelay = .milliseconds(200)
        options.moves.drainTime = .milliseconds(5)
        return options
    }
}

extension ShardMap {
    /// For failures of tests.
    var summary: String {
        let steps = Dictionary(grouping: shards, by: \.step).mapValues(\.count)
        return "epoch \(epoch), \(steps.map { "\($0.key.name) \($0.value)" }.sorted()), hosts \(hosts)"
    }

    var isSettled: Bool { movingCount == 0 && shards.allSatisfy(\.strays.isEmpty) }

    /// Copies that are with others than in `old`.
    func copiesMoved(since old: ShardMap) -> Int {
        zip(shards, old.shards).reduce(0) { count, pair in
            count + pair.0.placement.members.count { !pair.1.placement.contains($0) }
        }
    }

    func held(by node: NodeID) -> Int { shards.count { $0.placement.contains(node) } }
    func owned(by node: NodeID) -> Int { shards.count { $0.placement.owner == node } }
}

extension CacheCluster.Node {
    func store(
        _ name: String, _ value: [UInt8], kind: Binding.Kind = .action, mode: StoreMode = .durable,
        writer: String = "client/test", within time: Duration = .seconds(30)
    ) async throws -> StoreReply {
        let deadline = NodeClock.now() + time
        let content: Manifest.Content
        if value.count <= CacheLimits.inlineBytes {
            content = .inline(value)
        } else {
            var blobs: [BlobReference] = []
            for start in stride(from: 0, to: value.count, by: CacheLimits.blobBytes) {
                let part = Array(value[start..<min(start + CacheLimits.blobBytes, value.count)])
                blobs.append(try await service.add(part, mode: mode, deadline: deadline))
            }
            content = .blobs(blobs)
        }
        return try await service.store(
            StoreRequest(
                name: Array("default/\(name)".utf8), kind: kind,
                manifest: Manifest(writer: writer, files: [.init(name: "", content: content)]), mode: mode,
                costMilliseconds: 100, principal: writer, deadline: deadline))
    }

    func retrieve(
        _ name: String, wantsToMake: Bool = false, within time: Duration = .seconds(30)
    ) async throws -> RetrieveReply {
        try await service.retrieve(
            RetrieveRequest(
                name: Array("default/\(name)".utf8), deadline: NodeClock.now() + time, principal: "client/test",
                wantsToMake: wantsToMake, expectedCost: .milliseconds(500)))
    }

    /// Until this node acts by that map, or a newer one.
    func applied(_ epoch: MapEpoch) async throws {
        try await until("the map to be applied", within: .seconds(10)) {
            try await statistics().mapEpoch >= epoch.rawValue
        }
    }

    func statistics() async throws -> CacheStatistics {
        try await service.stat(StatRequest(principal: "client/test", deadline: .soon)).statistics
    }

    func rebalance(_ action: RebalanceRequest.Action) async throws -> RebalanceReply {
        try await service.rebalance(
            RebalanceRequest(action, principal: "client/test", deadline: NodeClock.now() + .seconds(10)))
    }

    /// Nil when there is nothing.
    func value(_ name: String) async throws -> [UInt8]? {
        guard case .found(_, let manifest, _) = try await retrieve(name).result else { return nil }
        switch manifest.files[0].content {
        case .inline(let bytes): return bytes
        case .blobs(let blobs):
            var bytes: [UInt8] = []
            for blob in blobs {
                bytes += try await service.blob(blob, deadline: NodeClock.now() + .seconds(30)).bytes
            }
            return bytes
        }
    }
}

/// Bytes that are not like any others.
func noise(_ count: Int) -> [UInt8] {
    var state = UInt64.random(in: 0 ... .max)
    return [UInt8](unsafeUninitializedCapacity: count) { room, filled in
        for position in 0..<count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            room[position] = UInt8(truncatingIfNeeded: state >> 56)
        }
        filled = count
    }
}
