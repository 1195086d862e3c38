import Catalog
import EsperTypes
import PostgreSQL
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct MigrationTests {
    @Test func `nodes that start together migrate once`() async throws {
        try await withCatalogDatabase { server, client in
            let clients = [client] + (0..<3).map { _ in server.client() }
            let errors = await withTaskGroup(of: CatalogError?.self) { group in
                for client in clients {
                    group.addTask {
                        await failure { try await Migrator(client: client, cluster: cluster).migrate() }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(errors == [nil, nil, nil, nil])
            let steps = try await server.sql("SELECT number FROM esper.schema_migrations ORDER BY 1")
            #expect(steps == (1...Migration.all.count).map(String.init).joined(separator: "\n"))
            #expect(try await server.sql("SELECT cluster_id FROM esper.cluster") == cluster.description)
            for client in clients.dropFirst() { await client.shutdown(drainingFor: .zero) }
        }
    }

    @Test func `a newer schema, a changed step and another cluster are refused and left alone`() async throws {
        try await withCatalogDatabase { server, client in
            let migrator = Migrator(client: client, cluster: cluster)
            try await migrator.migrate()
            let other = Migrator(client: client, cluster: ClusterID(1))
            #expect(await failure { try await other.migrate() } == .otherCluster(cluster.description))
            _ = try await server.sql("INSERT INTO esper.schema_migrations VALUES (99, 'later', 0)")
            #expect(
                await failure { try await migrator.migrate() } == .newerSchema(found: 99, known: Migration.all.count))
            _ = try await server.sql(
                "DELETE FROM esper.schema_migrations WHERE number = 99; UPDATE esper.schema_migrations SET checksum = 1 WHERE number = 1"
            )
            #expect(await failure { try await migrator.migrate() } == .changedMigration(1))
            #expect(try await server.sql("SELECT count(*) FROM esper.schema_migrations") == "\(Migration.all.count)")
        }
    }

    @Test func `a migration that fails leaves nothing behind`() async throws {
        try await withCatalogDatabase { server, client in
            // A table of ours that is in the way.
            _ = try await server.sql(
                "CREATE SCHEMA esper AUTHORIZATION esper; CREATE TABLE esper.nodes (); ALTER TABLE esper.nodes OWNER TO esper"
            )
            let migrator = Migrator(client: client, cluster: cluster)
            guard case .database(let error) = await failure({ try await migrator.migrate() }) else {
                Issue.record("it succeeded")
                return
            }
            #expect(error.sqlState == "42P07")
            #expect(try await server.sql("SELECT to_regclass('esper.schema_migrations') IS NULL") == "t")
            _ = try await server.sql("DROP TABLE esper.nodes")
            try await migrator.migrate()
        }
    }
}
