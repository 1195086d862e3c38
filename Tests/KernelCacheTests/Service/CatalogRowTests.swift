import CacheCore
import Catalog
import Coordination
import EsperTypes
import KernelCache
import PostgreSQL
import RaftRuntime
import TestSupport
import Testing

/// Rows of names in a real PostgreSQL, against what the nodes have agreed on. One after the other: each has whole nodes that must
/// answer in time.
@Suite(.serialized, .timeLimit(.minutes(2))) struct CatalogRowTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    /// A cluster whose names a catalog is told of, for as long as `projection` runs.
    private func run(
        _ options: CacheOptions = .quick,
        _ body: @escaping (CacheCluster, PrivatePostgreSQL, _ stopProjection: () async -> Void) async throws -> Void
    ) async throws {
        try await withPayloads { (server, _) async throws in
            var settings = PostgreSQLSettings(
                hosts: [server.socketDirectory], port: server.port, database: "esper", user: "esper")
            settings.maximumBackoff = .milliseconds(200)
            let client = PostgreSQLClient(settings: settings, logger: silent, seed: 8)
            client.start()
            let table = BindingTable(client: client, cluster: catalogCluster, actor: "node/test")
            do {
                try await CacheCluster.run(2, rows: table, options: options) { (cluster) async throws in
                    _ = try await cluster.founded()
                    cluster.agreement.apply(
                        .record([.init(kind: .leadershipStarted, subject: "n1")], term: nil), "node/test")
                    var quick = OutboxProjector.Options()
                    quick.acknowledgeInterval = .milliseconds(5)
                    quick.checkInterval = .milliseconds(5)
                    quick.linger = .milliseconds(1)
                    let projector = OutboxProjector(
                        client: client, source: cluster.agreement, cluster: catalogCluster, node: "n1", options: quick,
                        seed: 4, logger: silent)
                    projector.leadershipChanged(Term(1))
                    let projection = Task { await projector.run() }
                    defer { projection.cancel() }
                    try await until("the catalog to be known") {
                        try cluster.agreement.status().acknowledgedThrough != .zero
                    }
                    try await body(cluster, server) {
                        projection.cancel()
                        await projection.value
                    }
                }
            } catch {
                await client.shutdown(drainingFor: .zero)
                throw error
            }
            await client.shutdown(drainingFor: .zero)
        }
    }

    private func sync(_ node: CacheCluster.Node, isDryRun: Bool = false) async throws -> SyncReply {
        try await node.service.sync(SyncRequest(isDryRun: isDryRun, principal: "client/test", deadline: .soon))
    }

    private static let rows = """
        SELECT convert_from(name, 'UTF8'), version, state, kind, encode(manifest, 'hex'), size, cost_ms, tenant
        FROM esper.cache_binding WHERE state <> 'tombstone' ORDER BY name
        """

    @Test func `rows that are wrong are told by how much, and written anew from what is agreed`() async throws {
        try await run { (cluster, server, stopProjection) async throws in
            var bindings: [String: Binding] = [:]
            for text in ["differing", "missing", "newer", "older", "right"] {
                for _ in 0..<3 { bindings[text] = try await cluster[0].store(text, noise(100), kind: .alias).binding }
            }
            _ = try await cluster[0].store("evicted", noise(100))
            _ = try await cluster[0].service.evict(
                EvictRequest(
                    name: name("evicted"), subject: .name(version: nil), principal: "client/test", deadline: .soon))
            try await until("the rows") { try cluster.agreement.status().count == 0 }
            let right = try await server.sql(Self.rows)
            #expect(right.split(separator: "\n").count == 5)
            let clean = try await sync(cluster[1])
            #expect(clean.wrongRows == 0 && clean.unreachable.isEmpty, "\(clean)")

            // What comes from now on has not been told yet, and is nobody's fault.
            await stopProjection()
            _ = try await cluster[0].store("late", noise(100))
            _ = try await cluster[0].store("right", noise(100), kind: .alias)
            func spoil(_ text: String, _ change: String) async throws {
                _ = try await server.sql("UPDATE esper.cache_binding SET \(change) WHERE name = 'default/\(text)'")
            }
            try await spoil("older", "version = version - 2, manifest = sha256('old')")
            try await spoil("newer", "version = 1000000, state = 'tombstone'")
            try await spoil("differing", "manifest = sha256('other')")
            _ = try await server.sql("DELETE FROM esper.cache_binding WHERE name = 'default/missing'")
            _ = try await server.sql(
                """
                INSERT INTO esper.cache_binding SELECT 'default/surplus', tenant, 3, state, kind, manifest, lineage, size, cost_ms,
                    mode, tiers, expires_at, actor, changed_at FROM esper.cache_binding WHERE name = 'default/right'
                """)
            let page = try await cluster[1].service.compareRows(
                after: nil, limit: 1000, repairs: false, deadline: .soon)
            func version(_ text: String) -> UInt64 { bindings[text]?.version.rawValue ?? 0 }
            #expect(
                page.wrong == [
                    .init(name: name("differing"), fault: .differing, distance: 0),
                    .init(name: name("missing"), fault: .missing, distance: version("missing")),
                    .init(name: name("newer"), fault: .newer, distance: 1_000_000 - version("newer")),
                    .init(name: name("older"), fault: .older, distance: 2),
                    .init(name: name("surplus"), fault: .surplus, distance: 3),
                ])
            let told = try await sync(cluster[1], isDryRun: true)
            #expect(told.wrongRows == 5 && told.repairedRows == 0)
            let repaired = try await sync(cluster[1])
            #expect(repaired.wrongRows == 5 && repaired.repairedRows == 5)
            #expect(try await server.sql(Self.rows) == right)
            #expect(
                try await server.sql("SELECT state, version FROM esper.cache_binding WHERE name = 'default/surplus'")
                    == "tombstone|3")
            #expect(try await sync(cluster[0]).wrongRows == 0)
            // Names have never been asked of it.
            #expect(cluster.agreement.binding(name("newer")) == bindings["newer"])
        }
    }

    @Test func `pages of a few names find what pages of many do, and the auditor repairs it`() async throws {
        var options = CacheOptions.quick
        options.auditInterval = .milliseconds(20)
        options.auditedNames = 3
        try await run(options) { (cluster, server, _) async throws in
            for number in 0..<10 { _ = try await cluster[0].store("k\(number)", noise(100)) }
            try await until("the rows") { try cluster.agreement.status().count == 0 }
            let right = try await server.sql(Self.rows)
            for spoil in [
                "DELETE FROM esper.cache_binding WHERE name >= 'default/k7'",
                "UPDATE esper.cache_binding SET size = 7 WHERE name < 'default/k2'", "TRUNCATE esper.cache_binding",
            ] {
                _ = try await server.sql(spoil)
                try await until("the auditor") { try await server.sql(Self.rows) == right }
            }
        }
    }

    @Test func `under load no row is taken for a wrong one`() async throws {
        try await run { (cluster, _, _) async throws in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<3 {
                    group.addTask {
                        for round in 0..<60 {
                            let text = "w\(writer)-\(round % 4)"
                            _ = try await cluster[round % 2].store(text, noise(100), kind: .alias)
                            guard round % 3 == 2 else { continue }
                            _ = try await cluster[0].service.evict(
                                EvictRequest(
                                    name: name(text), subject: .name(version: nil), principal: "client/test",
                                    deadline: .soon))
                            // What the leader does now and then: tombstones go, too.
                            if let chore = cluster.agreement.chore { cluster.agreement.apply(chore, "node/test") }
                        }
                    }
                }
                group.addTask {
                    for round in 0..<40 {
                        let page = try await cluster[round % 2].service.compareRows(
                            after: nil, limit: 5, repairs: true, deadline: .soon)
                        #expect(page.wrong == [])
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}
