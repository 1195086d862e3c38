import CacheCore
import ClusterSupport
import struct Crypto.SHA256
import EsperClient
import EsperTypes
import Foundation
import NIOCore
import Synchronization
import TestSupport
import Testing

/// The tiers of real nodes go away, come back, lie and rot.
@Suite(
    .serialized, .timeLimit(.minutes(4)),
    .enabled(if: PrivatePostgreSQL.isInstalled, "PostgreSQL is not installed"))
struct CacheTierTests {
    /// Runs `body` with three nodes that have a catalog, and what else `settings` tell.
    private func run(
        cache: String = "", more: String = "", timeout: Duration = .seconds(10),
        _ body: (LocalCluster, CacheNodes, PrivatePostgreSQL) async throws -> Void
    ) async throws {
        try await withPrivatePostgreSQL { server in
            let settings = """
                catalog: {url: "host=\(server.socketDirectory) port=\(server.port) user=esper dbname=esper"}
                \(LocalCluster.calmElections)
                cache: {drain_time: 1s\(cache)}
                \(more)
                """
            try await LocalCluster.run(3, settings: settings) { cluster in
                _ = try await cluster.waitUntilSettled(hosts: 3)
                let nodes = try CacheNodes(cluster, timeout: timeout)
                defer { nodes.close() }
                try await nodes.until(.catalog, isUsed: true)
                try await body(cluster, nodes, server)
            }
        }
    }

    private func expectEverywhere(
        _ name: String, is other: String? = nil, _ nodes: CacheNodes, _ words: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        for node in nodes.names {
            let value = try await nodes.value(of: name, at: node)
            #expect(
                value == Kernel.bytes(of: other ?? name), "\(name) at \(node) \(words)", sourceLocation: sourceLocation)
        }
    }

    // MARK: Redis

    @Test func `Redis that is absent at the start, killed, flapping and out of date costs nobody anything`()
        async throws
    {
        try await withPrivateRedis { redis in
            // What every start of the server brings back: copies that were damaged another day.
            let old = ["old-0", "old-1", "old-2", "old-3"].filter {
                Kernel.bytes(of: $0).count > CacheLimits.inlineBytes
            }
            try #require(!old.isEmpty)
            for name in old {
                let digest = try #require(Digest(bytes: Array(SHA256.hash(data: Kernel.bytes(of: name)))))
                try await redis.cli("SET", "esper:blob:\(digest)", "of another day")
            }
            #expect(try await redis.cli("SAVE") == "OK")
            await redis.kill()
            try await run(cache: ", redis: \"redis://127.0.0.1:\(redis.port)\"") { _, nodes, _ in
                let worker = CacheWorker(nodes)
                try await worker.during {
                    for name in old { #expect(try await nodes.store(name, at: "n1").isStored) }
                    _ = try await nodes.store("best", at: "n1", kind: .alias, like: "first")
                    try await nodes.until(.redis, isUsed: false)
                    try await redis.startServer()
                    try await nodes.until(.redis, isUsed: true)
                    for name in old {
                        try await nodes.forget(name)
                        #expect(try await nodes.value(of: name, at: "n2") == Kernel.bytes(of: name))
                    }
                    #expect(try #require(await nodes.tier(.redis, at: "n2")).corrupt == UInt64(old.count))
                    _ = try await nodes.store("best", at: "n3", kind: .alias, like: "second")
                    try await expectEverywhere("best", is: "second", nodes, "with Redis back")
                    for _ in 0..<4 {
                        await redis.kill()
                        await pause(.milliseconds(300))
                        try await redis.startServer()
                        await pause(.milliseconds(300))
                    }
                    _ = try await nodes.store("best", at: "n2", kind: .alias, like: "third")
                    try await expectEverywhere("best", is: "third", nodes, "after the flapping")
                    try await nodes.until(.redis, isUsed: true)
                    // Used again, not only reached.
                    _ = try await nodes.store("new", at: "n1")
                    let manifest = try await nodes.digests(of: "new")[0]
                    try await until("Redis to be filled") {
                        try await redis.cli("EXISTS", "esper:blob:\(manifest)") == "1"
                    }
                }
                worker.expectNoProblem(atLeast: 50)
            }
        }
    }

    // MARK: PostgreSQL

    @Test func `without PostgreSQL stores are durable on disks until the outbox is full, and nothing is lost`()
        async throws
    {
        try await run(more: "outbox: {maximum_records: 60}", timeout: .seconds(8)) { cluster, nodes, server in
            // Names are told to a catalog that has taken something.
            try await until("the name in the catalog") {
                _ = try await nodes.store("before", at: "n1", kind: .alias)
                return try await Self.bound(server) == 1
            }
            // First it hangs, then it is gone.
            try server.pause()
            let hung = try await nodes.store("hung", at: "n2")
            #expect(hung.isStored && !hung.tiers.contains(TierSet(.catalog)))
            try server.resume()
            try await server.stopServer()
            var stored = ["before", "hung"]
            var refusal: EsperError?
            while refusal == nil, stored.count < 200 {
                let name = "away-\(stored.count)"
                do throws(EsperError) {
                    let answer = try await nodes.store(name, at: nodes.names[stored.count % 3])
                    #expect(answer.isStored && !answer.tiers.contains(TierSet(.catalog)))
                    stored.append(name)
                } catch { refusal = error }
            }
            // Unknown only when time was up: then the last attempt may have had no answer.
            let isTimeUp = refusal?.message.contains("tried until the time allowed was over") ?? false
            #expect(refusal?.code == "outbox_full", "\(String(describing: refusal))")
            #expect(
                refusal?.outcome == .notCommitted || isTimeUp && refusal?.outcome == .unknown,
                "\(String(describing: refusal))")
            #expect(stored.count > 10)
            #expect(try await nodes.store("kept in memory", at: "n3", mode: .memory).isStored)
            // What is on disks outlives every node and its memory.
            await cluster.kill(nodes.names)
            for node in nodes.names { try cluster.start(node) }
            _ = try await cluster.waitUntilSettled(hosts: 3)
            for name in stored where name != "before" {
                #expect(try await nodes.value(of: name, at: "n1") == Kernel.bytes(of: name), "\(name) is lost")
            }
            try await server.startServer()
            // What was bound while the outbox was full it is told by the auditor alone.
            try await until("every durable name in the catalog") { try await Self.bound(server) >= stored.count }
            try await nodes.until(.catalog, isUsed: true)
            #expect(try await nodes.store("after", at: "n2").tiers.contains(TierSet(.catalog)))
            // A standby that takes over lacks what came last.
            for digest in try await nodes.digests(of: "after") {
                _ = try await server.sql("DELETE FROM esper.cache_payload WHERE digest = '\\x\(digest)'")
            }
            for name in stored + ["after"] { try await expectEverywhere(name, nodes, "in the end") }
        }
    }

    private static func bound(_ server: PrivatePostgreSQL) async throws -> Int {
        Int(try await server.sql("SELECT count(*) FROM esper.cache_binding")) ?? 0
    }

    // MARK: The archive, and all of them

    /// With Redis, and SeaweedFS behind a proxy.
    ///
    /// - Parameter place: below which this cluster's objects stand, for an archive belongs to one.
    private func runWithArchive(
        _ place: String,
        _ body: (LocalCluster, CacheNodes, PrivatePostgreSQL, PrivateRedis, FaultyProxy, PrivateSeaweedFS) async throws
            -> Void
    ) async throws {
        try await withPrivateRedis { redis in
            let weed = try await PrivateSeaweedFS.shared()
            let proxy = try await FaultyProxy.start(to: weed.port)
            let secret = NSTemporaryDirectory() + "/esper-secret-\(UInt64.random(in: 0 ... .max))"
            defer { try? FileManager.default.removeItem(atPath: secret) }
            try Data(PrivateSeaweedFS.secretKey.utf8).write(to: URL(fileURLWithPath: secret))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: secret)
            let settings = """
                , redis: "redis://127.0.0.1:\(redis.port)", archive: {s3: {endpoint: "http://127.0.0.1:\(proxy.port)", \
                bucket: \(PrivateSeaweedFS.bucket), prefix: \(place), access_key: \(PrivateSeaweedFS.accessKey), secret_key_file: \(secret)}}
                """
            let result: Result<Void, any Error>
            do {
                result = .success(
                    try await run(cache: settings, timeout: .seconds(20)) { cluster, nodes, server in
                        try await nodes.until(.redis, isUsed: true)
                        try await nodes.until(.archive, isUsed: true)
                        try await body(cluster, nodes, server, redis, proxy, weed)
                    })
            } catch { result = .failure(error) }
            try await proxy.stop()
            try result.get()
        }
    }

    private static func key(_ digest: Digest, _ place: String = "faults") -> String {
        "\(place)/blob/\("\(digest)".prefix(2))/\(digest)"
    }

    /// A fault of the store, and how many connections in a row have it.
    private static let faults: [(name: String, fault: FaultyProxy.Fault, times: Int)] = [
        ("unavailable", .answer("503 Slow Down"), 2), ("broken", .answer("500 Internal Server Error"), 2),
        ("conflict", .answer("409 Conflict"), 2),
        ("lost", .loseAnswer, 2), ("cut", .cutShort(40), 2), ("slow", .slow(.milliseconds(800)), 4),
    ]

    @Test(.enabled(if: PrivateSeaweedFS.isInstalled, "SeaweedFS is not installed"))
    func `a store that fails, lies and rots, and then every tier gone: no wrong byte, nothing acknowledged is lost`()
        async throws
    {
        try await runWithArchive("faults") { cluster, nodes, server, redis, proxy, weed in
            try await faultsOfTheStore(nodes, server, redis, proxy, weed)
            try await flippedBits(nodes, server, redis, weed)
            try await lostCopies(nodes, server, redis, weed)
            try await withoutTiers(cluster, nodes, server, redis, proxy)
        }
    }

    /// What is acknowledged as archived is there, whole, as one object for each digest; what comes back is right or refused.
    private func faultsOfTheStore(
        _ nodes: CacheNodes, _ server: PrivatePostgreSQL, _ redis: PrivateRedis, _ proxy: FaultyProxy,
        _ weed: PrivateSeaweedFS
    ) async throws {
        for (name, fault, times) in Self.faults {
            proxy.behave(fault, times: times)
            let answer = try await nodes.store(name, at: "n1", mode: .archived)
            #expect(proxy.spoiled > 0, "\(name) met no fault")
            #expect(answer.isStored && answer.tiers.contains(TierSet(.archive)), "\(name)")
            proxy.behave(nil)
            let digests = try await nodes.digests(of: name)
            for digest in digests { #expect(try await weed.hash(of: Self.key(digest)) == "\(digest)", "\(name)") }
            try await until("the catalog to have \(name)") {
                try await server.sql("SELECT count(*) FROM esper.cache_payload WHERE \(Self.among(digests))")
                    == "\(digests.count)"
            }
            // Then from the store alone, with the same fault.
            try await forgetButArchive(name, digests, nodes, server, redis)
            proxy.behave(fault, times: times)
            #expect(try await nodes.value(of: name, at: "n2") == Kernel.bytes(of: name), "\(name)")
            proxy.behave(nil)
        }
        // Bytes that break off in their midst; and a digest that is there already (412).
        let (name, digests) = ("lost", try await nodes.digests(of: "lost"))
        try await forgetButArchive(name, digests, nodes, server, redis)
        proxy.behave(.cutShort(1200), times: 2)
        #expect(try await nodes.value(of: name, at: "n3") == Kernel.bytes(of: name))
        proxy.behave(nil)
        let again = try await nodes.store("again", at: "n2", mode: .archived, like: name)
        #expect(again.isStored && again.tiers.contains(TierSet(.archive)))
    }

    private static func among(_ digests: [Digest]) -> String {
        "digest IN (\(digests.map { "'\\x\($0)'" }.joined(separator: ", ")))"
    }

    private func forgetButArchive(
        _ name: String, _ digests: [Digest], _ nodes: CacheNodes, _ server: PrivatePostgreSQL, _ redis: PrivateRedis
    ) async throws {
        try await nodes.forget(name)
        _ = try await server.sql("DELETE FROM esper.cache_payload WHERE \(Self.among(digests))")
        try await redis.cli("FLUSHALL")
    }

    /// Every copy that is wrong is dropped and counted, wherever it lies; the next place gives the bytes.
    private func flippedBits(
        _ nodes: CacheNodes, _ server: PrivatePostgreSQL, _ redis: PrivateRedis, _ weed: PrivateSeaweedFS
    ) async throws {
        let name = "rotten"
        _ = try await nodes.store(name, at: "n1", mode: .archived)
        let digests = try await nodes.digests(of: name)
        func flipInRedisAndCatalog() async throws {
            for digest in digests {
                try await redis.cli("SET", "esper:blob:\(digest)", "not what it was")
                _ = try await server.sql(
                    """
                    UPDATE esper.cache_payload SET payload = set_byte(payload, 7, get_byte(payload, 7) # 1)
                    WHERE digest = '\\x\(digest)'
                    """)
            }
        }
        func corrupt(_ tier: CacheTier) async throws -> UInt64 {
            var sum: UInt64 = 0
            for node in nodes.names { sum += try await nodes.tier(tier, at: node)?.corrupt ?? 0 }
            return sum
        }
        try await until("the catalog to have it") {
            try await server.sql("SELECT count(*) FROM esper.cache_payload WHERE \(Self.among(digests))")
                == "\(digests.count)"
        }
        let count = UInt64(digests.count)
        let before = (try await corrupt(.redis), try await corrupt(.catalog), try await corrupt(.archive))
        try await nodes.forget(name)
        try await flipInRedisAndCatalog()
        #expect(try await nodes.value(of: name, at: "n3") == Kernel.bytes(of: name), "from the archive")
        #expect(try await corrupt(.redis) - before.0 == count)
        #expect(try await corrupt(.catalog) - before.1 == count)
        try await until("the catalog to be repaired") {
            try await server.sql(
                "SELECT count(*) FROM esper.cache_payload WHERE \(Self.among(digests)) AND sha256(payload) = digest")
                == "\(digests.count)"
        }
        // No right copy anywhere: absent, and no wrong byte; then it is made again.
        try await nodes.forget(name)
        try await flipInRedisAndCatalog()
        for digest in digests { try await weed.flipBit(of: Self.key(digest)) }
        #expect(try await nodes.value(of: name, at: "n2") == nil)
        #expect(try await corrupt(.archive) > before.2)
        #expect(try await nodes.store(name, at: "n1", mode: .archived).isStored)
        try await expectEverywhere(name, nodes, "made again")
        for digest in digests { #expect(try await weed.hash(of: Self.key(digest)) == "\(digest)") }
    }

    /// After each of three uploads one copy of ten vanishes from the catalog, and from the store; of the first name every copy, twice. What is
    /// found elsewhere is right; of what is nowhere the name is absent, and can be made again.
    private func lostCopies(
        _ nodes: CacheNodes, _ server: PrivatePostgreSQL, _ redis: PrivateRedis, _ weed: PrivateSeaweedFS
    ) async throws {
        var random = SplitMix64(seed: 0x13)
        let names = (0..<12).map { "mislaid-\($0)" }
        for round in 0..<3 {
            for name in names {
                #expect(
                    try await nodes.store(name, at: nodes.names[round], mode: round == 0 ? .archived : .durable)
                        .isStored)
                let digests = try await nodes.digests(of: name)
                try await until("the catalog to have \(name)") {
                    try await server.sql("SELECT count(*) FROM esper.cache_payload WHERE \(Self.among(digests))")
                        == "\(digests.count)"
                }
                try await nodes.forget(name)
                let isDoomed = name == names[0] && round < 2
                for digest in digests {
                    if isDoomed || random.next() % 10 == 0 {
                        _ = try await server.sql("DELETE FROM esper.cache_payload WHERE \(Self.among([digest]))")
                    }
                    if isDoomed || random.next() % 10 == 0 { try await weed.remove(Self.key(digest)) }
                }
            }
            try await redis.cli("FLUSHALL")
            var absent: [String] = []
            for name in names {
                let value = try await nodes.value(of: name, at: nodes.names[(round + 1) % 3])
                #expect(value == nil || value == Kernel.bytes(of: name), "\(name) in round \(round)")
                if value == nil { absent.append(name) }
            }
            #expect(absent.contains(names[0]) == (round < 2) && absent.count <= 3, "round \(round): \(absent)")
        }
    }

    // MARK: Demotion

    /// Where a demotion stands when its node dies.
    private enum Step: CaseIterable {
        case copy, verify, readBack, flip, delete
    }

    /// Statements wait before they mark rows as archived, or take their payloads, for as long as a row says so.
    private static let gates = """
        CREATE TABLE gate (step text PRIMARY KEY);
        INSERT INTO gate VALUES ('flip'), ('delete');
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
                WHILE EXISTS (SELECT FROM public.gate WHERE step = TG_ARGV[0]) LOOP PERFORM pg_sleep(0.1); END LOOP;
                RETURN NULL;
            END $$;
        CREATE TRIGGER flip BEFORE UPDATE OF archived ON esper.cache_payload
            FOR EACH STATEMENT EXECUTE FUNCTION wait('flip');
        CREATE TRIGGER delete BEFORE UPDATE OF payload ON esper.cache_payload
            FOR EACH STATEMENT EXECUTE FUNCTION wait('delete');
        """

    @Test(.enabled(if: PrivateSeaweedFS.isInstalled, "SeaweedFS is not installed"))
    func `a node that dies between any two steps of a demotion loses nothing and leaves each blob in one place`()
        async throws
    {
        let place = "demotion"
        let objects = "/\(PrivateSeaweedFS.bucket)/\(place)/blob/"
        try await runWithArchive(place) { cluster, nodes, server, redis, proxy, weed in
            let names = (0..<4).map { "cold-\($0)" }
            var digests: [Digest] = []
            for name in names {
                #expect(try await nodes.store(name, at: "n1").tiers.contains(TierSet(.catalog)))
                digests += try await nodes.digests(of: name)
            }
            let among = Self.among(digests)
            func count(_ condition: String) async throws -> Int? {
                Int(try await server.sql("SELECT count(*) FROM esper.cache_payload WHERE \(among) AND \(condition)"))
            }
            #expect(try await count("sha256(payload) = digest AND NOT archived") == digests.count)
            func isReached(_ step: Step) async throws -> Bool {
                switch step {
                case .copy, .verify, .readBack: return proxy.waiting > 0
                case .flip, .delete:
                    let change = step == .flip ? "archived = true" : "payload = NULL"
                    return try await server.sql(
                        """
                        SELECT count(*) FROM pg_stat_activity
                        WHERE wait_event = 'PgSleep' AND query LIKE 'UPDATE esper.cache_payload SET \(change)%'
                        """) != "0"
                }
            }
            func letThrough(_ step: Step) async throws {
                switch step {
                case .copy: proxy.hold("HEAD \(objects)", since: "PUT \(objects)")
                case .verify: proxy.hold("GET \(objects)")
                case .readBack: proxy.hold(nil)
                case .flip, .delete: _ = try await server.sql("DELETE FROM gate WHERE step = '\(step)'")
                }
            }
            func killLeader(_ when: String) async throws -> String {
                let leader = try await cluster.leader()
                await cluster.kill(leader)
                let above = try await server.sql(
                    "SELECT encode(digest, 'hex') FROM esper.cache_payload WHERE \(among) AND sha256(payload) = digest"
                ).split(separator: "\n")
                for digest in digests where !above.contains("\(digest)") {
                    #expect(try await weed.hash(of: Self.key(digest, place)) == "\(digest)", "\(when)")
                }
                return leader
            }
            func restart(_ node: String) async throws {
                try cluster.start(node)
                try await nodes.until(.archive, isUsed: true)
            }
            proxy.hold("PUT \(objects)")
            _ = try await server.sql(Self.gates)
            _ = try await server.sql("UPDATE esper.cache_payload SET used_at = now() - interval '31 days'")
            // The first pass of this one was before there was anything to move.
            try await restart(try await killLeader("before it"))
            for step in Step.allCases {
                try await until("a demotion to come to \(step)", within: .seconds(60)) { try await isReached(step) }
                let killed = try await killLeader("at \(step)")
                try await letThrough(step)
                try await restart(killed)
            }
            try await until("every row to be without its payload", within: .seconds(60)) {
                try await count("payload IS NULL AND archived") == digests.count
            }
            for digest in digests {
                #expect(try await weed.hash(of: Self.key(digest, place)) == "\(digest)")
            }
            try await redis.cli("FLUSHALL")
            for name in names {
                try await nodes.forget(name)
                try await expectEverywhere(name, nodes, "after the demotion")
            }
        }
    }

    /// Memory and disks of the nodes are all there is.
    private func withoutTiers(
        _ cluster: LocalCluster, _ nodes: CacheNodes, _ server: PrivatePostgreSQL, _ redis: PrivateRedis,
        _ proxy: FaultyProxy
    ) async throws {
        proxy.behave(.away)
        try await server.stopServer()
        await redis.kill()
        for mode in [StoreMode.memory, .durable] {
            let name = "alone, \(mode.name)"
            let answer = try await nodes.store(name, at: "n1", mode: mode)
            #expect(answer.isStored)
            #expect(answer.tiers.isDisjoint(with: [TierSet(.redis), TierSet(.catalog), TierSet(.archive)]), "\(mode)")
            for digest in try await nodes.digests(of: name) {
                let disks = nodes.disks(with: digest)
                #expect(disks.count >= 2, "\(mode) is on the disks of \(disks)")
            }
            try await expectEverywhere(name, nodes, "without tiers")
        }
        var refusal = await #expect(throws: EsperError.self) {
            try await nodes.store("refused", at: "n1", mode: .archived)
        }
        // Unknown when the last attempt had no answer in time; whether the name is there is asked for below.
        #expect(
            refusal?.code == "tier_unavailable" && refusal?.outcome != .committed, "\(String(describing: refusal))")
        // One disk of three that works is not enough for two copies.
        for node in ["n2", "n3"] {
            let directory = "\(cluster.dataDirectory(of: node))/cache"
            try FileManager.default.moveItem(atPath: directory, toPath: directory + ".away")
            try Data().write(to: URL(fileURLWithPath: directory))
        }
        refusal = await #expect(throws: EsperError.self) { try await nodes.store("refused", at: "n1") }
        #expect(
            refusal?.code == "tier_unavailable" && refusal?.outcome != .committed, "\(String(describing: refusal))")
        #expect(refusal?.message.contains("durable") == true, "\(String(describing: refusal))")
        #expect(try await nodes.value(of: "refused", at: "n1") == nil)
        // Nor for what has to outlive two processes.
        refusal = await #expect(throws: EsperError.self) {
            try await nodes.store("refused", at: "n1", mode: .memory)
        }
        #expect(
            refusal?.code == "tier_unavailable" && refusal?.outcome != .committed, "\(String(describing: refusal))")
        try await expectEverywhere("alone, durable", nodes, "without disks")
    }
}

/// Stores kernels at every node and reads them back at others, all the time: every call ends by its time, and what was acknowledged
/// is there.
private final class CacheWorker: Sendable {
    private let nodes: CacheNodes
    private let isOver = Atomic(false)
    private let state = Mutex((calls: 0, problems: [String]()))

    private static let limit = Duration.seconds(20)

    init(_ nodes: CacheNodes) { self.nodes = nodes }

    func during(_ body: () async throws -> Void) async throws {
        let work = Task {
            await withDiscardingTaskGroup { group in
                for number in nodes.names.indices { group.addTask { await self.run(number) } }
            }
        }
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        isOver.store(true, ordering: .relaxed)
        await work.value
        try result.get()
    }

    func expectNoProblem(atLeast calls: Int, sourceLocation: SourceLocation = #_sourceLocation) {
        let (made, problems) = state.withLock { $0 }
        #expect(problems.isEmpty, "\(problems.count): \(problems.prefix(5))", sourceLocation: sourceLocation)
        #expect(made >= calls, sourceLocation: sourceLocation)
    }

    private func run(_ worker: Int) async {
        var round = 0
        while !isOver.load(ordering: .relaxed) {
            let name = "worker-\(worker)-\(round)"
            let start = ContinuousClock.now
            var problem: String?
            do throws(EsperError) {
                _ = try await nodes.store(name, at: nodes.names[worker])
                let reader = nodes.names[(worker + 1) % nodes.names.count]
                if try await nodes.value(of: name, at: reader) != Kernel.bytes(of: name) {
                    problem = "\(name) was acknowledged and is not there"
                }
            } catch { problem = "\(name): \(error)" }
            let time = ContinuousClock.now - start
            if time > Self.limit { problem = "\(name) took \(time)" }
            state.withLock { state in
                state.calls += 2
                if let problem { state.problems.append(problem) }
            }
            round += 1
            await pause(.milliseconds(20))
        }
    }
}
