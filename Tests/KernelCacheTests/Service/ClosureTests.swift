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

    @Test func `an eviction from a tier says whether the one below lacks it or is silent`() async throws {
        let (catalog, archive) = (ScriptedTier(.catalog), ScriptedTier(.archive))
        try await CacheCluster.run(1, outer: [catalog, archive]) { cluster in
            _ = try await cluster.founded()
            _ = try await cluster[0].store("stored", noise(100))
            func evict(from tier: CacheTier) async throws -> EvictReply {
                try await cluster[0].service.evict(
                    EvictRequest(
                        name: name("stored"), subject: .tier(tier), principal: "client/test", deadline: .soon))
            }
            archive.behave(.fail(.unavailable))
            let silent = await failure { try await evict(from: .catalog) }
            #expect(silent?.code == .tierUnavailable, "\(silent as Any)")
            catalog.behave(.fail(.unavailable))
            let both = await failure { try await evict(from: .peer) }
            #expect(both?.code == .tierUnavailable, "\(both as Any)")
            catalog.behave(.work)
            archive.behave(.work)
            let lacking = await failure { try await evict(from: .catalog) }
            #expect(lacking?.code == .closureIncomplete, "\(lacking as Any)")
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
