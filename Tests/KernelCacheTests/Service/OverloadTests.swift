import CacheCore
import EsperTypes
import KernelCache
import NIOCore
import NIOPosix
import NIOSSL
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// More at once than a node takes, and questions that are large. One after the other: each has whole nodes that must answer in time.
@Suite(.serialized, .timeLimit(.minutes(1))) struct OverloadTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    private func isOverloaded(_ body: () async throws -> some Any) async -> Bool {
        do {
            _ = try await body()
            return false
        } catch {
            guard let failure = error as? CacheFailure else { return false }
            return failure.code == .overloaded && failure.isRetryable && failure.outcome == .notCommitted
        }
    }

    @Test func `one load too many is refused as overloaded, and is no absence`() async throws {
        let archive = ScriptedTier(.archive)
        var options = CacheOptions.quick
        options.maximumLoads = 1
        try await CacheCluster.run(1, outer: [archive], options: options) { cluster in
            let node = cluster[0]
            var manifests: [Digest] = []
            for text in ["first", "second"] {
                manifests.append(try await node.store(text, noise(100), mode: .archived).binding.manifest)
                node.memory.drop(name: name(text))
            }
            for digest in manifests { node.memory.drop(digest) }
            await node.disk.delete(manifests)
            archive.behave(.hang)
            async let first = node.value("first")
            try await until("the first load") { try await node.statistics().loads == 1 }
            #expect(await isOverloaded { try await node.retrieve("second") })
            #expect(await isOverloaded { try await node.retrieve("second", wantsToMake: true) })
            let reference = BlobReference(digest: manifests[1], size: 1)
            #expect(await isOverloaded { try await node.service.blob(reference, deadline: .soon) })
            #expect(
                await isOverloaded {
                    try await node.service.stat(
                        StatRequest(name: name("second"), principal: "client/test", deadline: .soon))
                })
            #expect(cluster.agreement.binding(name("second"))?.state == .live)
            archive.behave(.work)
            archive.release()
            #expect(try await first != nil)
            try await until("the load to end") { try await node.statistics().loads == 0 }
            #expect(try await node.value("second") != nil)
        }
    }

    @Test func `a large question asks the archive for what nobody else has, and not without end`() async throws {
        let (catalog, archive) = (ScriptedTier(.catalog), ScriptedTier(.archive))
        try await CacheCluster.run(1, outer: [catalog, archive]) { (cluster) async throws in
            let blobs = (0..<3000).map { Blob.sample($0, size: 10) }
            for blob in blobs.prefix(1000) { catalog.plant(blob.digest, blob.bytes) }
            for blob in blobs.dropFirst(1000).prefix(100) { archive.plant(blob.digest, blob.bytes) }
            func missing(_ blobs: some Collection<Blob>, for mode: StoreMode = .durable) async throws -> Int {
                try await cluster[0].service.missing(
                    blobs.map { BlobReference(digest: $0.digest, size: 10) }, mode: mode, deadline: .soon
                ).count
            }
            #expect(try await missing(blobs.prefix(1000)) == 0)
            #expect(archive.asked == 0)
            #expect(try await missing(blobs.prefix(1200)) == 100)
            #expect(archive.asked == 200)
            #expect(try await missing(blobs) >= 1900)
            #expect(archive.asked <= 200 + 1024)
            // Whoever wants it archived has to send what the catalog alone has.
            #expect(try await missing(blobs[990..<1010], for: .archived) == 10)
            #expect(try await missing(blobs[990..<1010], for: .memory) == 0)
        }
    }

    @Test func `whoever looks for garbage reads names at the pace that was set`() async throws {
        var options = CacheOptions.quick
        options.garbageGrace = .zero
        options.listPause = .milliseconds(300)
        try await CacheCluster.run(1, options: options) { cluster in
            _ = try await cluster.founded()
            let kept = try await cluster[0].store("kept", noise(100)).binding
            for number in 0..<1000 {
                let bind = CacheBind(
                    name: name("more\(number)"), kind: .action, manifest: kept.manifest, size: 100, tiers: kept.tiers)
                _ = cluster.agreement.apply(.bind(bind), "client/test")
            }
            let garbage = Blob.sample(1)
            try await cluster[0].disk.put([garbage], isSynced: true)
            let times = Times()
            cluster[0].names.afterList.withLock { $0 = { times.all.withLock { $0.append(NodeClock.now()) } } }
            await cluster[0].service.collectGarbage()
            let pages = times.all.withLock { $0 }
            try #require(pages.count == 2)
            #expect(pages[1] - pages[0] >= options.listPause, "\(pages[1] - pages[0])")
            #expect(!cluster[0].disk.has(garbage.digest) && cluster[0].disk.has(kept.manifest))
        }
    }

    private final class Times: Sendable { let all = Mutex<[Instant]>([]) }

    @Test func `warming asks each node for as many as are wanted, however many`() async throws {
        try await CacheCluster.run(2) { cluster in
            for number in 0..<6000 {
                let blob = Blob.sample(UInt64(number), size: 10)
                cluster[1].memory.put(blob.bytes, under: blob.digest, costMilliseconds: 10)
                // What was never used is not hot.
                _ = cluster[1].memory.get(blob.digest)
            }
            for count in [10, 5500] {
                let reply = try await cluster[0].service.warm(
                    WarmRequest(subject: .hottest(count: count), principal: "client/test", deadline: .soon))
                #expect(reply.present + reply.blobs == count, "\(reply)")
            }
        }
    }

    @Test func `looking at everything is no use of anything on other nodes`() async throws {
        try await CacheCluster.run(2) { cluster in
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 2 }
            let binding = try await cluster[1].store("looked at", noise(100)).binding
            cluster[0].memory.drop(binding.manifest)
            await cluster[0].disk.delete([binding.manifest])
            func uses() -> UInt64 { cluster[1].memory.stat().counts.hits }
            let before = uses()
            // Reads the manifest from the other node.
            _ = try await cluster[0].service.sync(
                SyncRequest(isDryRun: true, principal: "client/test", deadline: .soon))
            #expect(uses() == before)
            #expect(try await cluster[0].value("looked at") != nil)
            #expect(uses() > before)
        }
    }

    @Test func `a comparison ends by its deadline, though no manifest can be read`() async throws {
        let archive = ScriptedTier(.archive)
        let guarded = GuardedTier(archive, seed: 1, logger: silent)
        try await CacheCluster.run(1, outer: [guarded]) { cluster in
            let manifest = try await cluster[0].store("far", noise(100), mode: .archived).binding.manifest
            cluster[0].memory.drop(manifest)
            await cluster[0].disk.delete([manifest])
            archive.behave(.hang)
            let start = NodeClock.now()
            let failure = await #expect(throws: CacheFailure.self) {
                try await cluster[0].service.sync(
                    SyncRequest(principal: "client/test", deadline: start + .milliseconds(300)))
            }
            #expect(failure?.code == .timedOut)
            #expect(NodeClock.now() - start < .milliseconds(1300))
            archive.release()
        }
    }

    @Test func `a node that takes connections and says nothing costs a caller his deadline`() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let silent = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let peers = CachePeers(
            me: NodeID(1), tls: try NIOSSLContext(configuration: .makeClientConfiguration()), on: group)
        let port = try #require(silent.localAddress?.port)
        peers.update([CacheMember(id: NodeID(2), name: "n2", api: HostPort(host: "127.0.0.1", port: port))])
        let start = NodeClock.now()
        await #expect(throws: PeerFailure.self) {
            try await peers.hottest(1, at: NodeID(2), deadline: start + .milliseconds(100))
        }
        #expect(NodeClock.now() - start < .milliseconds(700))
        await peers.close()
        try await silent.close()
    }

    @Test func `whoever has left a queue is forgotten`() async throws {
        let queue = MakeQueue(maximumWaiters: 1000, eventLoop: MultiThreadedEventLoopGroup.singleton.any())
        let isOver = Switch()
        @Sendable func wait(_ deadline: Instant) async -> MakeQueue.Turn {
            await queue.wait(
                for: [1], deadline: deadline, ask: { isOver.isOn ? .bound : .wait(upTo: .milliseconds(2)) },
                giveBack: { _ in })
        }
        let last = Task { await wait(.soon) }
        try await until("the first to wait") { queue.waiterCount == 1 }
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<200 {
                group.addTask { _ = await wait(NodeClock.now() + .milliseconds(Int64(number % 3))) }
                let cancelled = Task { await wait(.soon) }
                cancelled.cancel()
                group.addTask { _ = await cancelled.value }
            }
        }
        try await until("all but one to be gone") { queue.knownWaiters == 1 }
        isOver.turnOn()
        guard case .bound = await last.value else {
            Issue.record("it was made")
            return
        }
        #expect(queue.knownWaiters == 0)
    }
}

private final class Switch: Sendable {
    private let state = Atomic<Bool>(false)

    var isOn: Bool { state.load(ordering: .relaxed) }
    func turnOn() { state.store(true, ordering: .relaxed) }
}
