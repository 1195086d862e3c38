import CacheCore
import EsperTypes
import KernelCache
import RaftRuntime
import TestSupport
import Testing

/// What is bound must be there, and what is given up must be elsewhere. One after the other: each has whole nodes that must answer in time.
@Suite(.serialized, .timeLimit(.minutes(1))) struct ClosureTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    /// An artifact of one file for each blob.
    private func store(
        _ blobs: [Blob], mode: StoreMode = .durable, _ node: CacheCluster.Node
    ) async throws -> StoreReply {
        let files = blobs.enumerated().map { number, blob in
            Manifest.File(
                name: "\(number)",
                content: .blobs([BlobReference(digest: blob.digest, size: UInt32(blob.bytes.count))]))
        }
        return try await node.service.store(
            StoreRequest(
                name: name("stored"), kind: .alias, manifest: Manifest(writer: "client/test", files: files), mode: mode,
                costMilliseconds: 1, principal: "client/test", deadline: .soon))
    }

    private func failure(_ body: () async throws -> some Any) async -> CacheFailure? {
        do {
            _ = try await body()
            return nil
        } catch { return error as? CacheFailure }
    }

    @Test func `a blob that a silent tier may have is not told to be nowhere`() async throws {
        let archive = ScriptedTier(.archive)
        try await CacheCluster.run(1, outer: [archive]) { cluster in
            _ = try await cluster.founded()
            let blob = Blob.sample(1)
            archive.plant(blob.digest, blob.bytes)
            archive.behave(.fail(.unavailable))
            let unreached = await failure { try await store([blob], cluster[0]) }
            #expect(unreached?.code == .tierUnavailable && unreached?.isRetryable == true, "\(unreached as Any)")
            archive.behave(.work)
            #expect(try await store([blob], cluster[0]).isStored)
            let absent = await failure { try await store([blob, .sample(2)], cluster[0]) }
            #expect(absent?.code == .closureIncomplete, "\(absent as Any)")
        }
    }

    @Test func `a store whose time is over says so, and not that a tier is away`() async throws {
        let archive = ScriptedTier(.archive)
        let guarded = GuardedTier(archive, seed: 1, logger: silent)
        try await CacheCluster.run(1, outer: [guarded]) { cluster in
            _ = try await cluster.founded()
            archive.behave(.hang)
            defer { archive.release() }
            let late = await failure {
                try await cluster[0].store("late", noise(100), mode: .archived, within: .milliseconds(200))
            }
            #expect(late?.code == .timedOut && late?.outcome == .notCommitted, "\(late as Any)")
            #expect(late?.message.contains("mode archived") == true, "\(late as Any)")
        }
    }

    private func evict(from tier: CacheTier, _ node: CacheCluster.Node) async throws -> EvictReply {
        try await node.service.evict(
            EvictRequest(name: name("stored"), subject: .tier(tier), principal: "client/test", deadline: .soon))
    }

    @Test func `an eviction from a tier says whether the one below lacks it or is silent`() async throws {
        let (catalog, archive) = (ScriptedTier(.catalog), ScriptedTier(.archive))
        try await CacheCluster.run(1, outer: [catalog, archive]) { cluster in
            _ = try await cluster.founded()
            _ = try await cluster[0].store("stored", noise(100))
            archive.behave(.fail(.unavailable))
            let silent = await failure { try await evict(from: .catalog, cluster[0]) }
            #expect(silent?.code == .tierUnavailable, "\(silent as Any)")
            catalog.behave(.fail(.unavailable))
            let both = await failure { try await evict(from: .peer, cluster[0]) }
            #expect(both?.code == .tierUnavailable, "\(both as Any)")
            catalog.behave(.work)
            archive.behave(.work)
            let lacking = await failure { try await evict(from: .catalog, cluster[0]) }
            #expect(lacking?.code == .closureIncomplete, "\(lacking as Any)")
        }
    }

    /// A value of a manifest and a blob, and the digests of both, in every tier of a node.
    private func storeEverywhere(
        _ tiers: [ScriptedTier], _ node: CacheCluster.Node
    ) async throws -> (value: [UInt8], digests: [Digest]) {
        let value = noise(20_000)
        let binding = try await node.store("stored", value, mode: .archived).binding
        let digests = [binding.manifest, Digest(hashing: value)]
        try await until("every tier to have it") { tiers.allSatisfy { $0.digests.isSuperset(of: digests) } }
        let blobs = try await tiers[0].get(digests, deadline: .soon).map { Blob(digest: $0.key, bytes: $0.value) }
        try await node.disk.put(blobs, isSynced: true)
        return (value, digests)
    }

    private func held(
        _ digests: [Digest], in kind: CacheTier, _ tiers: [ScriptedTier], _ node: CacheCluster.Node
    ) -> Int {
        switch kind {
        case .memory: digests.count { node.memory.contains($0) }
        case .peer: digests.count { node.disk.has($0) }
        case .redis, .catalog, .archive:
            tiers.first { $0.tier == kind }?.digests.intersection(digests).count ?? 0
        }
    }

    private static let outer: [CacheTier] = [.redis, .catalog, .archive]

    @Test(arguments: [CacheTier.memory, .peer, .redis, .catalog])
    func `copies leave a tier when others are below it, and the bytes come from there`(_ kind: CacheTier) async throws {
        let tiers = Self.outer.map { ScriptedTier($0) }
        try await CacheCluster.run(1, outer: tiers) { cluster in
            _ = try await cluster.founded()
            let (value, digests) = try await storeEverywhere(tiers, cluster[0])
            // From memory also what stands there under its name.
            #expect(try await evict(from: kind, cluster[0]).copies >= digests.count)
            for other in CacheTier.allCases {
                #expect(held(digests, in: other, tiers, cluster[0]) == (other == kind ? 0 : digests.count), "\(other)")
            }
            _ = try await evict(from: .memory, cluster[0])
            #expect(try await cluster[0].value("stored") == value)
        }
    }

    @Test(arguments: [CacheTier.peer, .catalog])
    func `rotten copies below count for nothing: nothing leaves the tier above`(_ kind: CacheTier) async throws {
        let tiers = Self.outer.map { ScriptedTier($0) }
        try await CacheCluster.run(1, outer: tiers) { cluster in
            _ = try await cluster.founded()
            let (value, digests) = try await storeEverywhere(tiers, cluster[0])
            for tier in tiers where tier.tier > max(kind, .redis) { tier.plant(digests[1], noise(20_000)) }
            let refusal = await failure { try await evict(from: kind, cluster[0]) }
            #expect(refusal?.code == .closureIncomplete, "\(refusal as Any)")
            let places =
                kind == .peer
                ? "the catalog or the archive, which alone count" : "the archive, which alone counts"
            #expect(refusal?.message == "not whole in \(places): 1 of 2 blobs")
            #expect(held(digests, in: kind, tiers, cluster[0]) == digests.count)
            // One that is whole is enough.
            tiers[2].plant(digests[1], value)
            #expect(try await evict(from: kind, cluster[0]).copies == digests.count)
            #expect(held(digests, in: kind, tiers, cluster[0]) == 0)
        }
    }

    @Test func `what is read back is read a part at a time, and nothing leaves the archive`() async throws {
        let tiers = Self.outer.map { ScriptedTier($0) }
        try await CacheCluster.run(1, outer: tiers) { cluster in
            _ = try await cluster.founded()
            let blobs = (0..<40).map { Blob.sample($0, size: 100) }
            for blob in blobs { tiers[2].plant(blob.digest, blob.bytes) }
            #expect(try await store(blobs, mode: .archived, cluster[0]).isStored)
            try await cluster[0].disk.put(blobs, isSynced: true)
            #expect(try await evict(from: .peer, cluster[0]).copies >= blobs.count)
            #expect(tiers[2].largestGet == 16)
            let refusal = await failure { try await evict(from: .archive, cluster[0]) }
            #expect(refusal?.code == .closureIncomplete)
            #expect(refusal?.message == "nothing is evicted from the archive: no tier is below it")
        }
    }

    @Test func `what is held elsewhere goes where the mode wants it in parts`() async throws {
        let (catalog, archive) = (ScriptedTier(.catalog), ScriptedTier(.archive))
        var options = CacheOptions.quick
        options.prefetchBytes = 1000
        try await CacheCluster.run(1, outer: [catalog, archive], options: options) { cluster in
            _ = try await cluster.founded()
            let blobs = (0..<55).map { Blob.sample($0, size: 100) }
            for blob in blobs { catalog.plant(blob.digest, blob.bytes) }
            let reply = try await store(blobs, mode: .archived, cluster[0])
            #expect(reply.tiers.contains(TierSet(.archive)))
            #expect(archive.digests.isSuperset(of: blobs.map(\.digest)))
            #expect(archive.largestPut <= 10, "\(archive.largestPut) blobs at once")
        }
    }
}
