import CacheCore
import EsperTypes
import Foundation
import KernelCache
import NIOPosix
import ObjectStore
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// Nodes with a real PostgreSQL and an archive in a directory, in which things get old at once.
@Suite(.serialized, .timeLimit(.minutes(2))) struct OuterGarbageTests {
    private struct Held: Equatable {
        var catalog: Set<Digest>
        var archive: Set<Digest>

        static let nothing = Held(catalog: [], archive: [])
        static func both(_ digests: [Digest]) -> Held { Held(catalog: Set(digests), archive: Set(digests)) }
    }

    private struct Tiers {
        let server: PrivatePostgreSQL
        let redis = ScriptedTier(.redis)
        let catalog: CatalogTier
        let archive: InterruptedTier
        let root: String

        /// Everything in them was made and used a day and an hour ago.
        func age(but young: Set<Digest> = []) async throws {
            let spared = young.map { "'\\x\($0)'" }.joined(separator: ",")
            _ = try await server.sql(
                "UPDATE esper.cache_payload SET used_at = now() - interval '25 hours'"
                    + (spared.isEmpty ? "" : " WHERE digest NOT IN (\(spared))"))
            let files = FileManager.default.enumerator(atPath: root + "/objects")
            while let file = files?.nextObject() as? String {
                guard let digest = Digest((file as NSString).lastPathComponent), !young.contains(digest) else {
                    continue
                }
                try FileManager.default.setAttributes(
                    [.modificationDate: Date(timeIntervalSinceNow: -25 * 3600)],
                    ofItemAtPath: root + "/objects/" + file)
            }
        }

        func plant(_ blobs: [Blob]) async throws {
            for tier in [redis, catalog, archive] as [any BlobTier] { try await tier.put(blobs, deadline: .soon) }
        }

        /// In the catalog and in the archive.
        func held(_ digests: [Digest]) async throws -> Held {
            Held(
                catalog: try await catalog.has(digests, deadline: .soon),
                archive: try await archive.has(digests, deadline: .soon))
        }
    }

    private func run(
        _ count: Int = 3, _ options: CacheOptions = .quick, _ body: (CacheCluster, Tiers) async throws -> Void
    ) async throws {
        let root = NSTemporaryDirectory() + "/esper-archive-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: root) }
        var options = options
        options.listPause = .zero
        options.listedBlobs = 7
        try await withPayloads { server, catalog in
            let archive = InterruptedTier(ArchiveTier(try DirectoryStore(at: root, now: { NodeClock.now() })))
            let tiers = Tiers(server: server, catalog: catalog, archive: archive, root: root)
            do {
                try await CacheCluster.run(count, outer: [tiers.redis, catalog, archive], options: options) { cluster in
                    _ = try await cluster.founded()
                    try await body(cluster, tiers)
                }
            } catch {
                await archive.close()
                throw error
            }
            await archive.close()
        }
    }

    /// The manifest's digest and those that it names.
    private func closure(_ text: String, _ cluster: CacheCluster) async throws -> [Digest] {
        guard case .found(let binding, let manifest, _) = try await cluster[0].retrieve(text).result else {
            throw WaitedInVain("\(text) is not there")
        }
        return [binding.manifest] + manifest.blobs.map(\.digest)
    }

    /// Passes over all tiers, until the last one has done what is wanted: a node begins once it holds its lease.
    private func collect(
        _ cluster: CacheCluster, _ nodes: Range<Int> = 0..<3, until isDone: () async throws -> Bool
    ) async throws {
        try await until("the garbage to be collected") {
            for node in nodes { await cluster[node].service.collectOuterGarbage() }
            return try await isDone()
        }
    }

    @Test func `what no name refers to goes from all tiers after its time; what is wanted or young stays`() async throws
    {
        var options = CacheOptions.quick
        // What a store was told of is kept for an hour otherwise.
        options.addHold = .zero
        try await run(3, options) { cluster, tiers in
            _ = try await cluster[0].store("kept", noise(30_000), mode: .archived)
            let kept = try await closure("kept", cluster)
            try await until("the catalog to have it") {
                try await tiers.catalog.has(kept, deadline: .soon).count == kept.count
            }
            let garbage = (0..<40).map { Blob.sample(UInt64($0)) }
            let young = Blob.sample(1000)
            try await tiers.plant(garbage + [young])
            // Moved to the archive before: the row alone is left.
            _ = try await tiers.server.sql(
                "UPDATE esper.cache_payload SET archived = true, payload = NULL WHERE digest = '\\x\(garbage[0].digest)'"
            )
            try await tiers.age(but: [young.digest])
            let digests = garbage.map(\.digest)

            // A node deletes what it coordinates.
            let map = try #require(cluster.agreement.map)
            let others = Set(digests.filter { map[ShardID(of: $0)].coordinator != NodeID(1) })
            #expect(!others.isEmpty && others.count < digests.count)
            try await collect(cluster, 0..<1) { try await tiers.held(digests).archive == others }
            #expect(try await tiers.held(digests).catalog == others.subtracting([garbage[0].digest]))

            try await collect(cluster) { try await tiers.held(digests) == .nothing }
            #expect(tiers.redis.digests.isDisjoint(with: digests))
            #expect(try await tiers.held(kept) == .both(kept))
            #expect(try await tiers.held([young.digest]) == .both([young.digest]))
            let rows = try await tiers.server.sql("SELECT count(*) FROM esper.cache_payload")
            #expect(rows == "\(kept.count + 1)")

            // The name goes, and what it stood for with it.
            _ = try await cluster[1].service.evict(
                EvictRequest(
                    name: Array("default/kept".utf8), subject: .name(version: nil), principal: "client/test",
                    deadline: .soon))
            try await tiers.age()
            try await collect(cluster) { try await tiers.held(kept) == .nothing }
        }
    }

    @Test func `nothing goes while a node does not answer, or wants it`() async throws {
        try await run { cluster, tiers in
            let (wanted, unwanted) = (Blob.sample(1), Blob.sample(2))
            try await tiers.plant([wanted, unwanted])
            try await tiers.age()
            let reference = BlobReference(digest: wanted.digest, size: UInt32(wanted.bytes.count))
            // Of the archive nobody notes a use: this word is all there is.
            #expect(try await cluster[1].service.missing([reference], mode: .durable, deadline: .soon).isEmpty)
            try await tiers.age()
            try await collect(cluster) { try await tiers.held([unwanted.digest]) == .nothing }
            #expect(try await tiers.held([wanted.digest]) == .both([wanted.digest]))
            let late = Blob.sample(3)
            try await tiers.plant([late])
            try await tiers.age()
            try await cluster.cutOff(2)
            for node in 0..<2 { await cluster[node].service.collectOuterGarbage() }
            #expect(try await tiers.held([late.digest]).archive == [late.digest])
        }
    }

    @Test func `a store that reuses what is being deleted waits, and has it afterwards`() async throws {
        try await run { cluster, tiers in
            let value = noise(20_000)
            let blob = Blob(digest: Digest(hashing: value), bytes: value)
            try await tiers.archive.put([blob], deadline: .soon)
            try await tiers.age()
            let store = Mutex<Task<StoreReply, any Error>?>(nil)
            tiers.archive.interrupt { digests in
                guard digests.contains(blob.digest) else { return }
                let isDone = Atomic<Bool>(false)
                let task = Task {
                    defer { isDone.store(true, ordering: .relaxed) }
                    return try await cluster[2].store("reused", value, mode: .archived)
                }
                store.withLock { $0 = task }
                // As long as the store would take if it did not wait.
                for _ in 0..<100 where !isDone.load(ordering: .relaxed) { await pause(.milliseconds(5)) }
            }
            try await collect(cluster) { store.withLock { $0 } != nil }
            let task = try #require(store.withLock { $0 })
            #expect(try await task.value.isStored)
            let digests = try await closure("reused", cluster)
            #expect(try await tiers.archive.has(digests, deadline: .soon) == Set(digests))
        }
    }

    @Test func `a name that is bound after the names were read keeps its blobs`() async throws {
        try await run(1) { cluster, tiers in
            // A page has seven, and after the first the names are known.
            let blobs = (0..<12).map { Blob.sample(UInt64($0)) }.sorted { $0.digest < $1.digest }
            let manifest = Manifest(
                writer: "",
                files: [.init(name: "", content: .blobs([BlobReference(digest: blobs[11].digest, size: 100)]))]
            ).encoded()
            try await tiers.archive.put(blobs, deadline: .soon)
            try await tiers.age()
            try await tiers.archive.put([Blob(digest: Digest(hashing: manifest), bytes: manifest)], deadline: .soon)
            let pages = Atomic<Int>(0)
            tiers.archive.interruptList {
                guard pages.add(1, ordering: .relaxed).newValue == 2 else { return }
                let bind = CacheBind(
                    name: Array("default/late".utf8), kind: .action, manifest: Digest(hashing: manifest), size: 100,
                    mode: .archived, tiers: TierSet(.archive))
                cluster.agreement.apply(.change([.bind(bind)]), "node/test")
            }
            try await collect(cluster, 0..<1) {
                try await tiers.archive.has([blobs[10].digest], deadline: .soon).isEmpty
            }
            #expect(try await tiers.archive.has(blobs.map(\.digest), deadline: .soon) == [blobs[11].digest])
        }
    }

    @Test func `a node that starts again keeps what it promised to collectors, and lets nothing go for a while`()
        async throws
    {
        try await CacheCluster.run(1) { cluster in
            let (node, blob) = (cluster[0], Blob.sample(1))
            let reference = BlobReference(digest: blob.digest, size: UInt32(blob.bytes.count))
            #expect(await node.service.condemn([blob.digest], for: .seconds(60), by: "n1", round: 7) == [])
            await node.service.stop()

            func startAgain(settling: Duration) async throws -> CacheService {
                var options = CacheOptions.quick
                options.node = "n1"
                options.settling = settling
                let service = CacheService(
                    CacheService.Parts(
                        names: node.names, memory: node.memory, disk: try BlobDirectory(path: node.path),
                        eventLoop: MultiThreadedEventLoopGroup.singleton.any(), options: options, logger: silent))
                await service.refreshMembers()
                return service
            }
            func waits(_ service: CacheService) async -> Bool {
                do throws(CacheFailure) {
                    _ = try await service.missing(
                        [reference], mode: .durable, deadline: NodeClock.now() + .milliseconds(100))
                    return false
                } catch { return error.code == .tierUnavailable }
            }
            // Twice, since each start reads what the one before has left.
            for _ in 0..<2 {
                let service = try await startAgain(settling: .zero)
                #expect(await waits(service))
                _ = await service.condemn([blob.digest], for: .zero, by: "n1", round: 6)
                #expect(await waits(service))
                await service.stop()
            }
            let last = try await startAgain(settling: .seconds(60))
            let other = Blob.sample(2).digest
            #expect(await last.condemn([other], for: .seconds(60), by: "n1", round: 8) == [other])
            _ = await last.condemn([blob.digest], for: .zero, by: "n1", round: 7)
            #expect(await !waits(last))
            await last.stop()

            // What cannot be read may have been anything.
            try Data([1, 2, 3]).write(to: URL(filePath: node.path + "/condemned"))
            let unsure = try await startAgain(settling: .zero)
            #expect(await waits(unsure))
            await unsure.stop()
        }
    }

    @Test func `a store that took longer than blobs are kept is told what is missing`() async throws {
        var options = CacheOptions.quick
        options.addHold = .zero
        try await run(1, options) { cluster, tiers in
            let added = try await cluster[0].service.add(noise(20_000), mode: .archived, deadline: .soon)
            try await until("the catalog to have it") {
                try await tiers.catalog.has([added.digest], deadline: .soon).count == 1
            }
            try await tiers.age()
            // It is claimed for a while yet.
            try await collect(cluster, 0..<1) { try await tiers.held([added.digest]) == .nothing }
            cluster[0].memory.drop(added.digest)
            await cluster[0].disk.delete([added.digest])
            try await tiers.redis.delete([added.digest], deadline: .soon)
            let failure = await #expect(throws: CacheFailure.self) {
                try await cluster[0].service.store(
                    StoreRequest(
                        name: Array("default/slow".utf8), kind: .action,
                        manifest: Manifest(writer: "", files: [.init(name: "", content: .blobs([added]))]),
                        principal: "client/test", deadline: .soon))
            }
            #expect(failure?.code == .closureIncomplete)
            #expect(cluster.agreement.binding(Array("default/slow".utf8)) == nil)
        }
    }
}

/// A tier in which something happens just before it deletes, or after it has listed.
final class InterruptedTier: BlobTier {
    private let inner: any BlobTier
    private let beforeRemoval = Mutex<@Sendable ([Digest]) async -> Void>({ _ in })
    private let afterList = Mutex<@Sendable () async -> Void>({})
    var tier: CacheTier { inner.tier }

    init(_ inner: any BlobTier) { self.inner = inner }

    func interrupt(_ body: @escaping @Sendable ([Digest]) async -> Void) { beforeRemoval.withLock { $0 = body } }
    func interruptList(_ body: @escaping @Sendable () async -> Void) { afterList.withLock { $0 = body } }

    func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await inner.get(digests, deadline: deadline)
    }
    func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        try await inner.put(blobs, deadline: deadline)
    }
    func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await inner.has(digests, deadline: deadline)
    }
    func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs {
        let page = try await inner.idle(for: idle, after: last, limit: limit, deadline: deadline)
        let then = afterList.withLock { $0 }
        await then()
        return page
    }
    func remove(
        _ digests: [Digest], idleFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        let first = beforeRemoval.withLock { $0 }
        await first(digests)
        return try await inner.remove(digests, idleFor: idle, deadline: deadline)
    }
    func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await inner.delete(digests, deadline: deadline)
    }
    func probe(deadline: Instant) async throws(TierFailure) { try await inner.probe(deadline: deadline) }
    func close() async { await inner.close() }
}
