import CacheCore
import EsperTypes
import KernelCache
import RaftRuntime
import TestSupport
import Testing

/// Where blobs are kept and looked for. One after the other: each has whole nodes that must answer in time.
@Suite(.serialized, .timeLimit(.minutes(1))) struct BlobSourcesTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    private func forget(_ digest: Digest, _ text: String, in cluster: CacheCluster, nodes: Int) {
        for node in 0..<nodes {
            cluster[node].memory.drop(digest)
            cluster[node].memory.drop(name: name(text))
        }
    }

    @Test func `what the disks refuse goes to an outer tier before it is acknowledged in mode memory`() async throws {
        let archive = ScriptedTier(.archive)
        var options = CacheOptions.quick
        options.copyLimit = .milliseconds(300)
        try await CacheCluster.run(2, outer: [archive], options: options) { cluster in
            for node in 0..<2 { await cluster[node].disk.close() }
            let reply = try await cluster[0].store("full", noise(1000), mode: .memory)
            #expect(reply.tiers.contains(TierSet(.archive)))
            #expect(archive.digests.contains(reply.binding.manifest))
            archive.behave(.fail(.full))
            let failure = await #expect(throws: CacheFailure.self) {
                try await cluster[0].store("nowhere", noise(1000), mode: .memory)
            }
            #expect(failure?.code == .tierUnavailable)
        }
    }

    @Test func `of a large artifact only what this node lacks is asked for, and nobody behind who has it`() async throws
    {
        let archive = ScriptedTier(.archive)
        var options = CacheOptions.quick
        options.prefetchBytes = 1000
        try await CacheCluster.run(2, outer: [archive], options: options) { cluster in
            _ = try await cluster.founded()
            let value = noise(50_000)
            let digest = Digest(hashing: value)
            _ = try await cluster[0].store("large", value)
            func isFound() async throws -> Bool {
                guard case .found = try await cluster[0].retrieve("large").result else { return false }
                return true
            }
            var calls = archive.calls
            #expect(try await isFound())
            #expect(archive.calls == calls, "this node has all of it")
            cluster[0].memory.drop(digest)
            #expect(try await isFound())
            #expect(archive.calls == calls, "the other node has it")
            cluster[1].memory.drop(digest)
            #expect(try await isFound())
            #expect(archive.calls == calls + 1)
            #expect(!cluster[0].memory.contains(digest), "it was to be found, not brought")
            archive.behave(.fail(.unavailable))
            #expect(try await !isFound())
            #expect(cluster.agreement.binding(name("large"))?.state == .live, "a tier that fails denies nothing")
            archive.behave(.work)
            try await archive.delete([digest], deadline: .soon)
            calls = archive.calls
            #expect(try await !isFound())
            #expect(cluster.agreement.binding(name("large"))?.state == .quarantined)
        }
    }

    @Test func `the collector reads manifests without bringing them nearer`() async throws {
        let (redis, archive) = (ScriptedTier(.redis), ScriptedTier(.archive))
        var options = CacheOptions.quick
        options.garbageGrace = .seconds(1)
        options.garbageInterval = .milliseconds(100)
        try await CacheCluster.run(1, outer: [redis, archive], options: options) { cluster in
            let manifest = try await cluster[0].store("cold", noise(100)).binding.manifest
            try await until("Redis to be filled") { redis.digests == [manifest] }
            try await redis.delete([manifest], deadline: .soon)
            forget(manifest, "cold", in: cluster, nodes: 1)
            // Two passes: a second use is what would bring it up.
            for _ in 0..<2 {
                let garbage = Blob.sample(.random(in: 0 ... .max))
                try await cluster[0].disk.put([garbage], isSynced: true)
                try await until("the garbage to go") { !cluster[0].disk.has(garbage.digest) }
            }
            #expect(!cluster[0].memory.contains(manifest))
            #expect(redis.digests.isEmpty)
            #expect(archive.digests == [manifest])
        }
    }

    @Test func `a holder that lost a blob puts it on its disk again when it reads it`() async throws {
        try await CacheCluster.run(3) { cluster in
            let map = try await cluster.founded()
            let value = noise(5000)
            let digest = try await cluster[0].store("lost", value).binding.manifest
            let holders = map[digest].placement.members.map { Int($0.rawValue) - 1 }
            let stranger = try #require((0..<3).first { !holders.contains($0) })
            forget(digest, "lost", in: cluster, nodes: 3)
            await cluster[holders[0]].disk.delete([digest])
            #expect(try await cluster[stranger].value("lost") == value)
            #expect(try await cluster[holders[0]].value("lost") == value)
            try await until("the copy to be back") { cluster[holders[0]].disk.has(digest) }
            #expect(!cluster[stranger].disk.has(digest), "it holds nothing of the shard")
        }
    }

    @Test func `wrong bytes of a peer are counted, and the right ones come from another`() async throws {
        try await CacheCluster.run(3) { cluster in
            let map = try await cluster.founded()
            let value = noise(5000)
            let digest = try await cluster[0].store("wrong", value).binding.manifest
            let placement = map[digest].placement
            let reader = try #require((1...3).map { NodeID(UInt64($0)) }.first { !placement.contains($0) })
            forget(digest, "wrong", in: cluster, nodes: 3)
            cluster[Int(placement.owner.rawValue) - 1].memory.put(noise(5000), under: digest)
            #expect(try await cluster[Int(reader.rawValue) - 1].value("wrong") == value)
            let peers = try await cluster[Int(reader.rawValue) - 1].statistics().peers
            #expect(peers.filter { $0.corrupt > 0 }.map(\.name) == ["n\(placement.owner.rawValue)"])
            #expect(peers.reduce(0) { $0 + $1.corrupt } == 1)
        }
    }
}
