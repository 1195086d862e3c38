import CacheCore
import Catalog
import Coordination
import EsperTypes
import KernelCache
import PostgreSQL
import RaftRuntime
import TestSupport
import Testing

/// Nodes with a real PostgreSQL and scripted neighbours of it. One after the other: each has whole nodes that must answer in
/// time.
@Suite(.serialized, .timeLimit(.minutes(2))) struct OuterTierTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    /// The tiers of one test, each behind its guard.
    private struct Tiers {
        let server: PrivatePostgreSQL
        let redis = ScriptedTier(.redis)
        let archive = ScriptedTier(.archive)
        let catalog: CatalogTier
        let guards: [GuardedTier]

        init(_ server: PrivatePostgreSQL, _ catalog: CatalogTier, hasArchive: Bool) {
            self.server = server
            self.catalog = catalog
            var settings = GuardedTier.Settings()
            settings.breaker.firstPause = .milliseconds(20)
            settings.breaker.longestPause = .milliseconds(200)
            let inner: [any BlobTier] = hasArchive ? [redis, catalog, archive] : [redis, catalog]
            guards = inner.map { GuardedTier($0, settings: settings, seed: 1, logger: silent) }
        }
    }

    private func run(
        _ count: Int = 3, hasArchive: Bool = true, _ body: (CacheCluster, Tiers) async throws -> Void
    ) async throws {
        try await withPayloads { server, catalog in
            let tiers = Tiers(server, catalog, hasArchive: hasArchive)
            // Cancelled and awaited below.
            let probes = Task {
                await withDiscardingTaskGroup { group in
                    for tier in tiers.guards { group.addTask { await tier.run() } }
                }
            }
            do {
                try await CacheCluster.run(count, outer: tiers.guards) { try await body($0, tiers) }
            } catch {
                probes.cancel()
                await probes.value
                throw error
            }
            probes.cancel()
            await probes.value
        }
    }

    /// No node has any of it in memory or on its disk.
    private func forget(_ digests: some Sequence<Digest>, _ names: [String], _ cluster: CacheCluster) async {
        for node in 0..<3 {
            for digest in digests { cluster[node].memory.drop(digest) }
            for text in names { cluster[node].memory.drop(name: name(text)) }
            await cluster[node].disk.delete(Array(digests))
        }
    }

    /// The manifest's digest and those that it names.
    private func closure(_ text: String, _ cluster: CacheCluster) async throws -> [Digest] {
        guard case .found(let binding, let manifest, _) = try await cluster[0].retrieve(text).result else {
            throw WaitedInVain("\(text) is not there")
        }
        return [binding.manifest] + manifest.blobs.map(\.digest)
    }

    // MARK: The catalog goes away

    @Test func `without PostgreSQL stores are durable on disks until the outbox is full; then it all catches up`()
        async throws
    {
        try await run(hasArchive: false) { cluster, tiers in
            cluster.agreement.apply(.configure(CoordinationSettings(maximumOutboxRecords: 6)), "node/test")
            cluster.agreement.apply(.record([.init(kind: .leadershipStarted, subject: "n1")], term: nil), "node/test")
            var settings = PostgreSQLSettings(
                hosts: [tiers.server.socketDirectory], port: tiers.server.port, database: "esper", user: "esper")
            settings.maximumBackoff = .milliseconds(200)
            let client = PostgreSQLClient(settings: settings, logger: silent, seed: 8)
            client.start()
            var options = OutboxProjector.Options()
            options.acknowledgeInterval = .milliseconds(10)
            options.maximumBackoff = .milliseconds(100)
            options.checkInterval = .milliseconds(50)
            let projector = OutboxProjector(
                client: client, source: cluster.agreement, cluster: catalogCluster, node: "n1", options: options,
                seed: 4, logger: silent)
            projector.leadershipChanged(Term(1))
            // Cancelled and awaited below.
            let projection = Task { await projector.run() }
            defer { projection.cancel() }
            try await until("the catalog to be known") { try cluster.agreement.status().acknowledgedThrough != .zero }

            let before = noise(40_000)
            #expect(try await cluster[0].store("before", before).tiers.contains(TierSet(.catalog)))
            // First it hangs, then it is gone.
            try tiers.server.pause()
            let during = noise(40_000)
            let hung = try await cluster[1].store("during", during, within: .seconds(4))
            #expect(hung.isStored)
            #expect(!hung.tiers.contains(TierSet(.catalog)))
            try tiers.server.resume()
            try await tiers.server.stopServer()
            var stored: [String: [UInt8]] = ["during": during]
            let refusal = await #expect(throws: CacheFailure.self) {
                for number in 0..<8 {
                    let value = noise(20_000)
                    let reply = try await cluster[number % 3].store("away-\(number)", value)
                    #expect(!reply.tiers.contains(TierSet(.catalog)))
                    stored["away-\(number)"] = value
                }
            }
            #expect(refusal?.code == .outboxFull)
            #expect(refusal?.isRetryable == true)
            #expect(stored.count > 2)
            #expect(try await cluster[2].store("memory", noise(3000), mode: .memory).isStored)
            for (name, value) in stored {
                for node in 0..<3 { cluster[node].memory.drop(name: self.name(name)) }
                for digest in try await closure(name, cluster) {
                    for node in 0..<3 { cluster[node].memory.drop(digest) }
                }
                #expect(try await cluster[0].value(name) == value, "from the disks")
            }

            try await tiers.server.startServer()
            try await until("the outbox to empty") { try cluster.agreement.status().count == 0 }
            try await until("the tier to be back") { tiers.guards.allSatisfy { !$0.isSuspended } }
            #expect(try await cluster[0].store("after", noise(40_000)).tiers.contains(TierSet(.catalog)))
            try await until("every name in the catalog") {
                try await tiers.server.sql("SELECT count(*) FROM esper.cache_binding") == "\(stored.count + 2)"
            }
            await forget(try await closure("before", cluster), ["before"], cluster)
            #expect(try await cluster[2].value("before") == before, "from PostgreSQL")
            projection.cancel()
            await projection.value
            await client.shutdown(drainingFor: .zero)
        }
    }

    @Test func `with every outer tier down each mode is acknowledged by what it needs, or refused`() async throws {
        try await run { cluster, tiers in
            tiers.redis.behave(.fail(.unavailable))
            tiers.archive.behave(.fail(.unavailable))
            try await tiers.server.stopServer()
            for mode in [StoreMode.memory, .durable] {
                let value = noise(50_000)
                let reply = try await cluster[0].store(mode.name, value, mode: mode)
                #expect(reply.isStored)
                #expect(reply.tiers.isDisjoint(with: [TierSet(.redis), TierSet(.catalog), TierSet(.archive)]))
                let digests = try await closure(mode.name, cluster)
                for digest in digests {
                    let disks = (0..<3).count { cluster[$0].disk.has(digest) }
                    #expect(disks >= 2, "\(mode)")
                }
                // As after a restart of all.
                for node in 0..<3 {
                    for digest in digests { cluster[node].memory.drop(digest) }
                    cluster[node].memory.drop(name: name(mode.name))
                }
                for node in 0..<3 { #expect(try await cluster[node].value(mode.name) == value) }
            }
            let refusal = await #expect(throws: CacheFailure.self) {
                try await cluster[0].store("archived", noise(50_000), mode: .archived)
            }
            #expect(refusal?.code == .tierUnavailable)
            #expect(cluster.agreement.binding(name("archived")) == nil)

            tiers.archive.behave(.work)
            try await until("the archive to be back") { !tiers.guards[2].isSuspended }
            #expect(
                try await cluster[0].store("archived", noise(50_000), mode: .archived)
                    .tiers.contains(TierSet(.archive)))
        }
    }

    // MARK: Copies get lost or damaged

    @Test func `lost copies are found elsewhere, or the name is absent and can be made again`() async throws {
        try await run { cluster, tiers in
            var random = CacheCore.SplitMix64(seed: 0x13)
            var values: [String: [UInt8]] = [:]
            for number in 0..<30 { values["k\(number)"] = noise(18_000) }
            for round in 1...3 {
                for (name, value) in values.sorted(by: { $0.key < $1.key }) {
                    _ = try await cluster[round % 3].store(name, value, mode: round == 1 ? .archived : .durable)
                }
                for name in values.keys.sorted() {
                    let digests = try await closure(name, cluster)
                    try await until("every tier to have \(name)") {
                        try await tiers.catalog.has(digests, deadline: .soon).count == digests.count
                            && tiers.redis.digests.isSuperset(of: digests)
                    }
                    await forget(digests, [name], cluster)
                    try await tiers.redis.delete(digests, deadline: .soon)
                    // Redis has lost everything, the others one copy of twenty; and of k0 all.
                    let isDoomed = name == "k0" && round < 3
                    for digest in digests {
                        let isGone = (random.next() % 20 == 0, random.next() % 20 == 0)
                        if isDoomed || isGone.0 { try await tiers.catalog.delete([digest], deadline: .soon) }
                        if isDoomed || isGone.1 { try await tiers.archive.delete([digest], deadline: .soon) }
                    }
                }
                var absent: Set<String> = []
                for (name, value) in values {
                    let calls = tiers.archive.calls
                    let found = try await cluster[(round + 1) % 3].value(name)
                    #expect(found == value || found == nil, "\(name) in round \(round)")
                    #expect(tiers.archive.calls - calls <= 6, "\(name) in round \(round) asks again and again")
                    guard found == nil else { continue }
                    absent.insert(name)
                    #expect(cluster.agreement.binding(self.name(name))?.state == .quarantined)
                }
                #expect(absent.contains("k0") == (round < 3))
                #expect(absent.count <= 4)
            }
        }
    }

    @Test func `flipped bits are never returned: the next tier gives the bytes, and the copy is made anew`()
        async throws
    {
        try await run { cluster, tiers in
            let value = noise(30_000)
            _ = try await cluster[0].store("flipped", value, mode: .archived)
            let digests = try await closure("flipped", cluster)
            try await until("both tiers to have it") {
                try await tiers.catalog.has(digests, deadline: .soon).count == digests.count
            }
            let original = try await tiers.archive.get(digests, deadline: .soon)
            func flipEverywhere(_ places: Set<CacheTier>) async throws {
                await forget(digests, ["flipped"], cluster)
                for digest in digests {
                    var bytes = try #require(original[digest])
                    bytes[bytes.count / 2] ^= 1
                    if places.contains(.catalog) { try await tiers.server.flipBit(of: digest) }
                    tiers.archive.plant(digest, places.contains(.archive) ? bytes : original[digest] ?? [])
                    tiers.redis.plant(digest, bytes)
                }
            }
            try await flipEverywhere([.catalog])
            #expect(try await cluster[1].value("flipped") == value)
            let corrupt = try await cluster[1].service.stat(
                StatRequest(principal: "client/test", deadline: .soon)
            ).statistics.tiers.map(\.corrupt)
            #expect(corrupt == [UInt64(digests.count), UInt64(digests.count), 0])
            try await until("the catalog to be repaired") {
                try await tiers.catalog.peek(digests, deadline: .soon) == original
            }
            try await flipEverywhere([.archive])
            #expect(try await cluster[2].value("flipped") == value)
            try await flipEverywhere([.catalog, .archive])
            #expect(try await cluster[0].value("flipped") == nil)
            #expect(cluster.agreement.binding(name("flipped"))?.state == .quarantined)
        }
    }

    // MARK: Up and down

    @Test func `what was demoted is found in the archive, and goes up with its uses`() async throws {
        try await run { cluster, tiers in
            let value = noise(30_000)
            _ = try await cluster[0].store("cold", value)
            let digests = try await closure("cold", cluster)
            func makeCold() async throws {
                await forget(digests, ["cold"], cluster)
                try await until("Redis to be filled") {
                    tiers.redis.digests.isSuperset(of: digests)
                }
                try await tiers.redis.delete(digests, deadline: .soon)
            }
            try await makeCold()
            _ = try await tiers.server.sql("UPDATE esper.cache_payload SET used_at = now() - interval '31 days'")
            let demotion = Demotion(from: tiers.catalog, to: tiers.guards[2], logger: silent)
            #expect(try await demotion.pass().blobs == digests.count)
            #expect(try await tiers.catalog.has(digests, deadline: .soon).isEmpty)
            #expect(try await cluster[1].value("cold") == value)
            try await until("the catalog to be filled") {
                try await tiers.catalog.has(digests, deadline: .soon).count == digests.count
            }
            #expect(tiers.redis.digests.isEmpty, "one use does not fill Redis")
            await forget(digests, ["cold"], cluster)
            #expect(try await cluster[1].value("cold") == value)
            try await makeCold()
        }
    }
}
