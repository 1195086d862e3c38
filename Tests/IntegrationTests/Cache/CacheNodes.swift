import CacheCore
import ClusterSupport
import EsperClient
import EsperTypes
import Foundation
import TestSupport

/// Every node of a cluster, each asked by a client of its own, about kernels whose bytes their names tell.
final class CacheNodes: Sendable {
    private let cluster: LocalCluster
    private let clients: [String: EsperClient]

    /// - Parameter timeout: of each call, retries included.
    init(_ cluster: LocalCluster, timeout: Duration = .seconds(10)) throws {
        self.cluster = cluster
        clients = try cluster.members.reduce(into: [:]) {
            $0[$1.name] = try cluster.cacheClient(of: [$1.name], timeout: timeout)
        }
    }

    subscript(node: String) -> CacheClient {
        guard let client = clients[node] else { preconditionFailure("no client of \(node)") }
        return client.cache
    }

    var names: [String] { clients.keys.sorted() }

    func close() { for client in clients.values { client.close() } }

    func store(
        _ name: String, at node: String, mode: StoreMode = .durable, kind: Binding.Kind = .action, like: String? = nil
    ) async throws(EsperError) -> StoreAnswer {
        var options = StoreOptions()
        (options.mode, options.kind) = (mode, kind)
        return try await self[node].store(ArtifactName(name), Kernel.bytes(of: like ?? name), options: options)
    }

    /// Nil: absent.
    func value(of name: String, at node: String) async throws(EsperError) -> [UInt8]? {
        try await self[node].value(of: ArtifactName(name))
    }

    /// The manifest's digest, then those that it names.
    func digests(of name: String) async throws -> [Digest] {
        guard case .found(let header) = try await self[names[0]].header(ArtifactName(name)) else {
            throw WaitedInVain("\(name) is not there")
        }
        return [header.binding.manifest] + header.manifest.blobs.map(\.digest)
    }

    /// No node has any of it in memory.
    func forget(_ name: String) async throws {
        for node in names { _ = try await self[node].evict(ArtifactName(name), .copy) }
    }

    /// What a node says of one of its outer tiers.
    func tier(_ tier: CacheTier, at node: String) async throws -> CacheStat.Tier? {
        try await self[node].stat().tiers.first { $0.tier == tier }
    }

    /// Until no node leaves the tier alone, or every one does.
    func until(_ tier: CacheTier, isUsed: Bool, within limit: Duration = .seconds(30)) async throws {
        for node in names {
            try await TestSupport.until("\(node) \(isUsed ? "to use" : "to leave alone") \(tier)", within: limit) {
                guard let breaker = try await self.tier(tier, at: node)?.breaker else { return false }
                return (breaker == "closed") == isUsed
            }
        }
    }

    /// Nodes that have it on their disks.
    func disks(with digest: Digest) -> [String] { names.filter { blobFile(of: digest, at: $0) != nil } }

    /// Nil when the node has no such blob.
    func blobFile(of digest: Digest, at node: String) -> String? {
        let text = "\(digest)"
        let directory = "\(cluster.dataDirectory(of: node))/cache/\(text.prefix(2))"
        let files = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return files.first { $0.hasPrefix(text.dropFirst(2)) }.map { "\(directory)/\($0)" }
    }
}

/// Kernels of tests: what one consists of follows from its name.
enum Kernel {
    /// Every second one stands in its manifest, the others have a blob.
    static func bytes(of name: String) -> [UInt8] {
        let seed = name.utf8.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
        var random = SplitMix64(seed: seed)
        let words = seed & 1 == 0 ? 300 : 2600
        return [UInt8](unsafeUninitializedCapacity: 8 * words) { room, count in
            for word in 0..<words {
                UnsafeMutableRawBufferPointer(room).storeBytes(
                    of: random.next(), toByteOffset: 8 * word, as: UInt64.self)
            }
            count = room.count
        }
    }
}

extension LocalCluster {
    /// Settings: elections are not what these tests are about, and a busy machine shall not bring any.
    static let calmElections = "raft: {heartbeat: 200ms, election_timeout: 1s}"

    /// A client of some nodes, or of all; it stays with one as long as that works.
    func cacheClient(of names: [String]? = nil, timeout: Duration = .seconds(10)) throws -> EsperClient {
        var settings = try ClientSettings.load(clientFile)
        if let names { settings.endpoints = names.map { "127.0.0.1:\(member($0).apiPort)" } }
        var options = ClientOptions()
        options.timeout = timeout
        options.maximumAttempts = 10_000
        options.followsLeader = false
        return try EsperClient(settings, options: options)
    }

    /// Until shards have their places, none moves, and `hosts` hold some.
    func waitUntilSettled(hosts: Int, within limit: Duration = .seconds(60)) async throws -> ShardPlaces {
        let client = try cacheClient()
        defer { client.close() }
        var last = "nothing"
        do {
            return try await eventually("the shards of \(hosts) hosts to settle", within: limit) {
                guard let places = try? await client.cache.shardPlaces() else { return nil }
                last = places.summary
                let isSettled =
                    places.epoch > 0 && places.shards.allSatisfy { $0.step == "stable" }
                    && places.hosts.count { $0.held > 0 && !$0.isDraining && !$0.isDown } == hosts
                return isSettled ? places : nil
            }
        } catch let error as WaitedInVain {
            throw WaitedInVain("\(error); the map is \(last)")
        }
    }
}

extension ShardPlaces {
    /// For failures of tests.
    var summary: String {
        let steps = Dictionary(grouping: shards, by: \.step).mapValues(\.count).sorted { $0.key < $1.key }
        return
            "epoch \(epoch), \(steps.map { "\($0.key) \($0.value)" }), \(hosts.map { "\($0.name) holds \($0.held)" })"
    }

    /// The part of all copies that is with others than in `old`.
    func moved(since old: ShardPlaces) -> Double {
        let moved = zip(shards, old.shards).reduce(0) { $0 + Set($1.0.members).subtracting($1.1.members).count }
        return Double(moved) / Double(shards.count * copies)
    }
}
