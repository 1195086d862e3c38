import CacheCore
import EsperTypes
import Foundation
import KernelCache
import ObjectStore
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// Nodes that differ, tiers that lack what names count on, and copies that have changed.
@Suite(.serialized, .timeLimit(.minutes(2))) struct EntropyTests {
    private func sync(_ node: CacheCluster.Node, isDryRun: Bool = false) async throws -> SyncReply {
        try await node.service.sync(
            SyncRequest(isDryRun: isDryRun, principal: "client/test", deadline: .soon))
    }

    /// Whatever is on the disk of a node and belongs to a name.
    private func closures(_ cluster: CacheCluster, _ names: [String]) async throws -> Set<Digest> {
        var digests: Set<Digest> = []
        for name in names {
            guard case .found(let binding, let manifest, _) = try await cluster[0].retrieve(name).result else {
                throw WaitedInVain("\(name) is not there")
            }
            digests.formUnion([binding.manifest] + manifest.blobs.map(\.digest))
        }
        return digests
    }

    @Test func `what one node has thrown away does not come back from the next`() async throws {
        try await CacheCluster.run(2) { cluster in
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 2 }
            let names = (0..<30).map { "n\($0)" }
            for name in names { _ = try await cluster[0].store(name, noise(20_000)) }
            let wanted = try await closures(cluster, names)
            let garbage = (0..<200).map { Blob.sample(UInt64($0)) }
            try await cluster[0].disk.put(garbage, isSynced: true)
            let lost = wanted.sorted().prefix(9)
            await cluster[1].disk.delete(Array(lost))
            let first = try await sync(cluster[0], isDryRun: true)
            #expect(first.differences == 9)
            #expect(first.repairedBlobs == 0)
            let reply = try await sync(cluster[0])
            #expect(reply.repairedBlobs == 9)
            #expect(lost.allSatisfy(cluster[1].disk.has))
            #expect(!garbage.contains { cluster[1].disk.has($0.digest) })
            let after = try await sync(cluster[1])
            #expect(after.differences == 0)
            #expect(after.equal == after.shards)
        }
    }

    @Test func `under load nothing is repaired that was not lost, and nobody is disturbed`() async throws {
        try await CacheCluster.run(3) { cluster in
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 3 }
            let (writers, rounds) = (4, 12)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<writers {
                    group.addTask {
                        for round in 0..<rounds {
                            let (name, value) = ("w\(writer)-\(round % 5)", noise(20_000))
                            _ = try await cluster[(writer + round) % 3].store(name, value, kind: .alias)
                            #expect(try await cluster[round % 3].value(name) == value)
                            guard round % 4 == 3 else { continue }
                            _ = try await cluster[writer % 3].service.evict(
                                EvictRequest(
                                    name: Array("default/\(name)".utf8), subject: .name(version: nil),
                                    principal: "client/test", deadline: .soon))
                            #expect(try await cluster[(writer + 1) % 3].value(name) == nil)
                        }
                    }
                }
                group.addTask {
                    for round in 0..<6 {
                        let reply = try await sync(cluster[round % 3])
                        #expect(reply.differences == 0)
                    }
                }
                try await group.waitForAll()
            }
            for node in 0..<3 {
                let reply = try await sync(cluster[node])
                #expect(reply.differences == 0)
                #expect(reply.equal == reply.shards)
            }
        }
    }

    @Test func `what was evicted while nodes were compared is not brought back, nor told`() async throws {
        try await CacheCluster.run(2) { cluster in
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 2 }
            _ = try await cluster[0].store("kept", noise(100))
            let gone = try await cluster[0].store("gone", noise(100)).binding.manifest
            await cluster[1].disk.delete([gone])
            // Between the reading of the names and the comparison.
            cluster[0].names.afterList.withLock {
                $0 = {
                    _ = cluster.agreement.apply(
                        CacheChange.evict(Array("default/gone".utf8), version: nil), "client/test")
                }
            }
            let reply = try await sync(cluster[0])
            #expect(reply.differences == 0 && reply.repairedBlobs == 0)
            #expect(reply.equal == reply.shards)
            #expect(!cluster[1].disk.has(gone))
        }
    }

    @Test func `nodes compare by themselves, and bring back what is missing`() async throws {
        var options = CacheOptions.quick
        options.syncInterval = .milliseconds(200)
        options.listPause = .milliseconds(1)
        try await CacheCluster.run(2, options: options) { cluster in
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 2 }
            let kept = try await cluster[0].store("kept", noise(100)).binding.manifest
            // A store that is not done yet would write it too.
            try await until("a copy on both") { cluster[0].disk.has(kept) && cluster[1].disk.has(kept) }
            for _ in 0..<2 {
                await cluster[1].disk.delete([kept])
                try await until("the copy to be back") { cluster[1].disk.has(kept) }
            }
            // A comparison is counted when it has ended.
            try await until("both to be counted") {
                let found = [try await cluster[0].statistics(), try await cluster[1].statistics()].map(
                    \.syncDifferences)
                return found[0] + found[1] >= 2
            }
        }
    }

    private func withTiers(
        _ body: (CacheCluster, PrivatePostgreSQL, CatalogTier, ArchiveTier, String) async throws -> Void
    ) async throws {
        let root = NSTemporaryDirectory() + "/esper-archive-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: root) }
        try await withPayloads { server, catalog in
            let archive = ArchiveTier(try DirectoryStore(at: root, now: { NodeClock.now() }))
            do {
                try await CacheCluster.run(3, outer: [catalog, archive]) { cluster in
                    _ = try await cluster.founded()
                    try await body(cluster, server, catalog, archive, root)
                }
            } catch {
                await archive.close()
                throw error
            }
            await archive.close()
        }
    }

    @Test func `what names count on is brought back to the archive and the catalog`() async throws {
        try await withTiers { cluster, _, catalog, archive, _ in
            for name in ["a", "b", "c"] { _ = try await cluster[0].store(name, noise(20_000), mode: .archived) }
            for name in ["d", "e"] { _ = try await cluster[0].store(name, noise(20_000)) }
            let archived = try await closures(cluster, ["a", "b", "c"]).sorted()
            let durable = try await closures(cluster, ["d", "e"]).sorted()
            try await archive.delete(Array(archived.prefix(3)), deadline: .soon)
            try await catalog.delete(Array(durable.prefix(2)), deadline: .soon)
            // Moved to the archive, as demotion does: nothing is missing.
            let moved = try await catalog.peek([durable[2]], deadline: .soon).map {
                Blob(digest: $0.key, bytes: $0.value)
            }
            try await archive.put(moved, deadline: .soon)
            try await catalog.delete([durable[2]], deadline: .soon)
            var repaired = 0
            try await until("all to be there") {
                for node in 0..<3 { repaired += try await sync(cluster[node]).repairedBlobs }
                let above = try await catalog.has(Array(durable.prefix(2)), deadline: .soon)
                return try await archive.has(archived, deadline: .soon).count == archived.count && above.count == 2
            }
            #expect(repaired == 5)
            #expect(try await catalog.has([durable[2]], deadline: .soon).isEmpty)

            // Of what is nowhere only the fact is told.
            try await archive.delete([archived[0]], deadline: .soon)
            try await catalog.delete([archived[0]], deadline: .soon)
            for node in 0..<3 {
                cluster[node].memory.drop(archived[0])
                await cluster[node].disk.delete([archived[0]])
            }
            var lost = 0
            for node in 0..<3 { lost += try await sync(cluster[node]).lost }
            #expect(lost == 1)
        }
    }

    @Test func `copies that have changed are found, dropped, counted, and made anew`() async throws {
        try await withTiers { cluster, server, catalog, archive, root in
            let value = noise(20_000)
            _ = try await cluster[0].store("kept", value, mode: .archived)
            let digests = try await closures(cluster, ["kept"]).sorted()
            let right = try await archive.get(digests, deadline: .soon)
            try await until("the catalog to have it") {
                try await catalog.has(digests, deadline: .soon).count == digests.count
            }
            try await cluster[1].disk.put(right.map { Blob(digest: $0.key, bytes: $0.value) }, isSynced: true)
            func flip(_ path: String) throws {
                var bytes = try #require(FileManager.default.contents(atPath: path))
                bytes[bytes.count / 2] ^= 1
                try bytes.write(to: URL(fileURLWithPath: path))
            }
            for digest in digests {
                let text = digest.description
                try await server.flipBit(of: digest)
                try flip("\(root)/objects/\(ArchiveTier.key(digest))")
                let size = try #require(right[digest]).count
                try flip("\(cluster[1].path)/\(text.prefix(2))/\(text.dropFirst(2)).\(size)")
            }
            // In memory too: what was put there by mistake.
            let wrong = Blob.sample(5)
            cluster[2].memory.put(Blob.sample(6).bytes, under: wrong.digest)

            // Half of the space first, in which half of them may lie.
            let half = UInt64(1) << 63
            for node in 0..<3 { await cluster[node].service.scrub(0..<half) }
            for digest in digests where digest.prefix >= half {
                #expect(try await catalog.peek([digest], deadline: .soon)[digest] != right[digest])
            }
            try await until("the copies to be right") {
                for node in 0..<3 { await cluster[node].service.scrub(0 ..< .max) }
                let above = try await catalog.peek(digests, deadline: .soon)
                return try await archive.get(digests, deadline: .soon) == right && above == right
            }
            #expect(try await cluster[1].disk.get(digests) == right)
            #expect(cluster[1].disk.damaged == UInt64(digests.count))
            #expect(cluster[2].memory.get(wrong.digest) == nil)
        }
    }

    @Test func `a node that tells an old version is reported with its distance; changes meanwhile are not`()
        async throws
    {
        try await CacheCluster.run(3) { cluster in
            let names = (0..<4).map { Array("default/n\($0)".utf8) }
            for number in 0..<4 { _ = try await cluster[0].store("n\(number)", noise(100), kind: .alias) }
            let stale = try #require(cluster.agreement.binding(names[1]))
            #expect(await cluster[0].service.audit(names, deadline: .soon) == [])
            let binding = try await cluster[0].store("n1", noise(100), kind: .alias).binding
            cluster[2].names.plant(stale, names[1])
            let violations = await cluster[0].service.audit(names, deadline: .soon)
            let distance = binding.version.rawValue - stale.version.rawValue
            #expect(violations == [.init(name: names[1], node: NodeID(3), distance: distance)])
            #expect(distance > 0)
            // Whoever changes all the time is right whatever he says.
            let writer = Task {
                while !Task.isCancelled { _ = try await cluster[1].store("n2", noise(100), kind: .alias) }
            }
            for _ in 0..<20 {
                #expect(await cluster[0].service.audit([names[2]], deadline: .soon) == [])
            }
            writer.cancel()
            _ = await writer.result
        }
    }

    @Test func `what only a tier has that is down stays a name, and is found or lost when the tier is back`()
        async throws
    {
        let archive = ScriptedTier(.archive)
        var settings = GuardedTier.Settings()
        settings.breaker.firstPause = .milliseconds(5)
        settings.breaker.longestPause = .milliseconds(20)
        let guarded = GuardedTier(archive, settings: settings, seed: 1, logger: silent)
        try await CacheCluster.run(3, outer: [guarded]) { cluster in
            for name in ["found", "lost"] { _ = try await cluster[0].store(name, noise(20_000), mode: .archived) }
            let digests = try await closures(cluster, ["found", "lost"])
            func forget() async {
                for node in 0..<3 {
                    for digest in digests { cluster[node].memory.drop(digest) }
                    await cluster[node].disk.delete(Array(digests))
                }
            }
            let lost = try await closures(cluster, ["lost"])
            await forget()
            archive.behave(.fail(.unavailable))
            for name in ["found", "lost"] {
                for _ in 0..<2 {
                    guard case .absent = try await cluster[1].retrieve(name).result else {
                        Issue.record("\(name) was found without bytes")
                        return
                    }
                }
                #expect(cluster.agreement.binding(Array("default/\(name)".utf8))?.state == .live)
            }
            let statistics = try await cluster[1].service.stat(
                StatRequest(principal: "client/test", deadline: .soon)
            ).statistics
            #expect(statistics.unreached == 4)
            #expect(statistics.quarantined == 0)
            archive.behave(.work)
            try await archive.delete(Array(lost), deadline: .soon)
            try await until("the tier to be back") {
                try await cluster[1].value("found") != nil
            }
            #expect(try await cluster[1].value("lost") == nil)
            #expect(cluster.agreement.binding(Array("default/lost".utf8))?.state == .quarantined)
            #expect(cluster.agreement.binding(Array("default/found".utf8))?.state == .live)
        }
    }
}
