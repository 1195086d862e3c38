import CacheCore
import EsperTypes
import Foundation
import KernelCache
import Logging
import NIOPosix
import RaftRuntime
import TestSupport
import Testing

/// What was worth most in memory is there again after a restart.
@Suite(.timeLimit(.minutes(1)))
struct HotListTests {
    /// The same node once more, as after a restart: its disk, and nothing in its memory.
    private func withNextLife(
        of node: CacheCluster.Node, _ body: (CacheService, MemoryTier) async throws -> Void
    ) async throws {
        await node.service.stop()
        let memory = MemoryTier(MemoryTier.Options(limitBytes: 64 << 20, seed: 7))
        let service = CacheService(
            CacheService.Parts(
                names: node.names, memory: memory, disk: try BlobDirectory(path: node.path),
                eventLoop: MultiThreadedEventLoopGroup.singleton.any(),
                logger: Logger(label: "again") { _ in SwiftLogNoOpLogHandler() }))
        service.start()
        do { try await body(service, memory) } catch {
            await service.stop()
            throw error
        }
        await service.stop()
    }

    @Test func `what was used is in memory again before anybody asks`() async throws {
        try await CacheCluster.run(1) { cluster in
            let node = cluster[0]
            let value = noise(200_000)
            let binding = try await node.store("hot", value).binding
            for _ in 0..<3 { #expect(try await node.value("hot") == value) }
            try await withNextLife(of: node) { service, memory in
                try await until("the manifest and its blob") {
                    memory.contains(binding.manifest) && memory.contains(Digest(hashing: value))
                }
                func statistics() async throws -> CacheStatistics {
                    try await service.stat(StatRequest(principal: "client/test", deadline: .soon)).statistics
                }
                try await until("it to be counted") { try await statistics().warmedBytes > 200_000 }
                for reads in 1...2 {
                    _ = try await service.retrieve(
                        RetrieveRequest(name: Array("default/hot".utf8), deadline: .soon, principal: "client/test"))
                    #expect(try await statistics().warmedHits == 1, "after read \(reads): an artifact counts once")
                }
            }
        }
    }

    @Test func `a restart does not change what is known of the cost of making something`() async throws {
        try await CacheCluster.run(1) { cluster in
            let (node, value) = (cluster[0], noise(20_000))
            let digest = Digest(hashing: value)
            _ = try await node.store("hot", value)
            node.memory.drop(digest)
            node.memory.put(value, under: digest, costMilliseconds: 900)
            for _ in 0..<3 { _ = node.memory.get(digest) }
            try await withNextLife(of: node) { _, memory in
                try await until("the blob") { memory.contains(digest) }
                _ = memory.get(digest)
                let entry = memory.hottest(10).entries.first { $0.digest == digest }
                #expect(entry?.costMilliseconds == 900)
            }
        }
    }

    @Test func `what one node uses most another can be warmed with`() async throws {
        try await CacheCluster.run(3) { cluster in
            var bindings: [Binding] = []
            for number in 0..<8 { bindings.append(try await cluster[0].store("kernel/\(number)", noise(300)).binding) }
            // As if it had been found elsewhere: what it took to make is known then.
            let bytes = try #require(cluster[0].memory.get(bindings[3].manifest))
            cluster[0].memory.drop(bindings[3].manifest)
            cluster[0].memory.put(bytes, under: bindings[3].manifest, costMilliseconds: 900)
            for _ in 0..<5 { _ = try await cluster[0].value("kernel/3") }
            for binding in bindings { cluster[2].memory.drop(binding.manifest) }
            let deadline = NodeClock.now() + .seconds(20)
            let reply = try await cluster[2].service.warm(
                WarmRequest(subject: .hottest(count: 1), principal: "client/test", deadline: deadline))
            #expect(reply.artifacts == 1 && reply.missing == 0, "\(reply)")
            // What it took to make, and not what the uses of all have made of that.
            _ = cluster[2].memory.get(bindings[3].manifest)
            let warmed = cluster[2].memory.hottest(10).entries.first { $0.digest == bindings[3].manifest }
            #expect(warmed?.costMilliseconds == 900)
            #expect(try await cluster[2].statistics().warmedHits == 0)
            guard case .found = cluster[2].service.hit(Array("default/kernel/3".utf8)) else {
                Issue.record("not in memory")
                return
            }
            #expect(try await cluster[2].statistics().warmedHits == 1)
        }
    }

    @Test func `what is there already is not brought again by its name`() async throws {
        try await CacheCluster.run(1) { cluster in
            let binding = try await cluster[0].store("kernel", noise(300)).binding
            cluster[0].memory.drop(binding.manifest)
            let request = WarmRequest(
                subject: .names([Array("default/kernel".utf8)]), principal: "client/test", deadline: .soon)
            let first = try await cluster[0].service.warm(request)
            #expect(first.artifacts == 1 && first.present == 0)
            let second = try await cluster[0].service.warm(request)
            #expect(second.artifacts == 0 && second.present == 1)
        }
    }

    @Test(arguments: [[], [1, 2, 3], [UInt8](repeating: 0xFF, count: 4096)])
    func `a list that makes no sense is none`(bytes: [UInt8]) async throws {
        try await CacheCluster.run(1) { cluster in
            let node = cluster[0]
            try Data(bytes).write(to: URL(fileURLWithPath: node.path + "/hot"))
            let disk = try BlobDirectory(path: node.path)
            #expect(await disk.hotList() == nil)
            await disk.close()
        }
    }
}
