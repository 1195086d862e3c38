import CacheCore
import EsperTypes
import KernelCache
import RaftRuntime
import TestSupport
import Testing

/// A node whose disk hangs in the kernel. One after the other: each has whole nodes that must answer in time.
@Suite(.serialized, .timeLimit(.minutes(1))) struct HungDiskTests {
    /// Until the end of `body` nothing on the node's disk comes to an end.
    private func withHungDisk(
        _ cluster: CacheCluster, _ number: Int, _ body: () async throws -> Void
    ) async throws {
        let node = cluster[number]
        let map = cluster.agreement.map
        // Those of other nodes' shards it would throw away.
        let blobs = (0..<100).map { Blob.sample($0, size: 77) }
            .filter { map?[$0.digest].placement.contains(NodeID(UInt64(number + 1))) ?? true }
            .prefix(2)
        try await node.disk.put(Array(blobs), isSynced: true)
        let files = try blobs.map { try HungFile($0.place(in: node.path)) }
        defer { for file in files { file.release() } }
        for blob in blobs {
            await #expect(throws: PeerFailure.self) {
                try await node.disk.get([blob.digest], deadline: NodeClock.now() + .milliseconds(50))
            }
        }
        try await body()
    }

    /// Whatever it comes to; in time.
    private func inTime(_ what: String, _ body: (Instant) async throws -> Void) async {
        let deadline = NodeClock.now() + .milliseconds(800)
        do {
            try await body(deadline)
        } catch {
            #expect((error as? CacheFailure)?.isRetryable == true, "\(what): \(error)")
        }
        #expect(NodeClock.now() < deadline + .seconds(1), "\(what)")
    }

    @Test func `every call ends by its deadline, and reads go on with other nodes`() async throws {
        try await CacheCluster.run(3) { cluster in
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 3 }
            let node = cluster[0]
            let value = noise(30_000)
            let manifest = try await node.store("kept", value).binding.manifest
            for digest in [manifest, Digest(hashing: value)] { node.memory.drop(digest) }
            try await withHungDisk(cluster, 0) { () async throws in
                #expect(try await node.value("kept") == value)
                let more = noise(2000)
                for mode in [StoreMode.durable, .memory] {
                    await inTime("add") { _ = try await node.service.add(more, mode: mode, deadline: $0) }
                }
                let blobs = (0..<20).map { BlobReference(digest: Blob.sample($0).digest, size: 100) }
                await inTime("missing") { (deadline) async throws in
                    let missing = try await node.service.missing(blobs, mode: .durable, deadline: deadline)
                    #expect(missing.count == blobs.count)
                }
                for round in 0..<3 {
                    await inTime("store") { deadline in
                        _ = try await node.store("new\(round)", noise(100), within: deadline - NodeClock.now())
                    }
                }
                await inTime("sync") {
                    _ = try await node.service.sync(SyncRequest(principal: "client/test", deadline: $0))
                }
                // And whoever counts on that node.
                await inTime("missing, asked of another") {
                    _ = try await cluster[1].service.missing(blobs, mode: .durable, deadline: $0)
                }
            }
            // When it is back, all is as before.
            try await until("a store") { (try? await node.store("after", noise(100)))?.isStored ?? false }
        }
    }

    @Test func `a node that takes reads and does not answer is left alone until it does`() async throws {
        try await CacheCluster.run(2) { cluster in
            let blob = Blob.sample(0, size: 77)
            func read() async throws {
                _ = try await cluster[0].peers.fetch(
                    [blob.digest], from: NodeID(2), isUse: true, deadline: NodeClock.now() + .milliseconds(120))
            }
            try await withHungDisk(cluster, 1) { () async throws in
                let start = NodeClock.now()
                for _ in 0..<30 { await #expect(throws: PeerFailure.self) { try await read() } }
                // Five until the breaker opens, and a few trials; all of them take more than three seconds.
                #expect(NodeClock.now() - start < .seconds(2))
                #expect(cluster[0].peers.statistics.map(\.breaker) != ["closed"])
            }
            try await until("the node to be asked again") { (try? await read()) != nil }
            try await until("nothing against it") {
                _ = try? await read()
                return cluster[0].peers.statistics.map(\.breaker) == ["closed"]
            }
        }
    }

    @Test func `what the disk does not take in time goes to an outer tier`() async throws {
        let archive = ScriptedTier(.archive)
        try await CacheCluster.run(1, outer: [archive]) { cluster in
            _ = try await cluster.founded()
            try await withHungDisk(cluster, 0) { () async throws in
                let reply = try await cluster[0].store("kept", noise(100), mode: .memory, within: .seconds(3))
                #expect(reply.tiers.contains(TierSet(.archive)))
            }
        }
    }
}
