package import EsperTypes
package import PostgreSQL

/// Brings the schema up to this program's version.
///
/// All steps that are due run in one transaction under an advisory lock: of several nodes that start together one
/// migrates, the others find it done. A schema of a later program is refused and left alone.
package struct Migrator: Sendable {
    private let client: PostgreSQLClient
    private let cluster: ClusterID
    private let migrations = Migration.all

    package init(client: PostgreSQLClient, cluster: ClusterID) {
        self.client = client
        self.cluster = cluster
    }

    /// The number of the advisory lock: "esper" in ASCII.
    static let lock: Int64 = 0x65_7370_6572

    /// Generous: the step that waits for the lock waits for another node's whole migration.
    private static let deadline = Duration.seconds(60)

    package func migrate() async throws(CatalogError) {
        do {
            // Each pass finds at least one more step done by somebody, so the passes end.
            for _ in 0...migrations.count {
                let applied = try await self.applied()
                try check(applied ?? [])
                if applied?.count == migrations.count { return try await checkCluster() }
                do {
                    try await apply(after: applied)
                } catch let error as PostgreSQLError where error.sqlState == CatalogError.State.migratedMeanwhile {
                    continue
                }
            }
            try await checkCluster()
        } catch let error as PostgreSQLError {
            throw CatalogError(error)
        } catch let error as CatalogError {
            throw error
        } catch {
            preconditionFailure("an error of neither kind: \(error)")
        }
    }

    private struct Applied {
        var number: Int
        var checksum: Int64
    }

    /// The steps that were applied, in order; nil before the first.
    private func applied() async throws -> [Applied]? {
        let exists = try await client.query(
            Statement("SELECT to_regclass('esper.schema_migrations') IS NOT NULL AS found")
        ).only().bool("found")
        guard exists else { return nil }
        let rows = try await client.query(
            Statement("SELECT number::bigint, checksum FROM esper.schema_migrations ORDER BY number"))
        return try rows.all.map { Applied(number: Int(try $0.int64("number")), checksum: try $0.int64("checksum")) }
    }

    private func check(_ applied: [Applied]) throws {
        if let last = applied.last, last.number > migrations.count {
            throw CatalogError.newerSchema(found: last.number, known: migrations.count)
        }
        for (index, step) in applied.enumerated() {
            guard step.number == index + 1, step.checksum == migrations[index].checksum else {
                throw CatalogError.changedMigration(step.number)
            }
        }
    }

    private func apply(after applied: [Applied]?) async throws {
        let count = applied?.count ?? 0
        var statements = [Statement("SELECT pg_advisory_xact_lock($1)", [.int64(Self.lock)])]
        if applied == nil {
            statements.append(Statement("CREATE SCHEMA IF NOT EXISTS esper"))
            statements.append(
                Statement(
                    """
                    CREATE TABLE IF NOT EXISTS esper.schema_migrations (
                        number integer PRIMARY KEY, name text NOT NULL, checksum bigint NOT NULL,
                        applied_at timestamptz NOT NULL DEFAULT now())
                    """))
        }
        // Under the lock nobody else migrates: what was true before it is checked again.
        statements.append(
            Statement(
                """
                DO $$ BEGIN
                    IF (SELECT count(*) FROM esper.schema_migrations) <> \(count) THEN
                        RAISE EXCEPTION 'migrated meanwhile' USING ERRCODE = '\(CatalogError.State.migratedMeanwhile)';
                    END IF;
                END $$
                """))
        for migration in migrations[count...] {
            statements.append(contentsOf: migration.statements.map { Statement($0) })
            statements.append(
                Statement(
                    "INSERT INTO esper.schema_migrations (number, name, checksum) VALUES ($1::bigint, $2, $3)",
                    [.int64(Int64(migration.number)), .text(migration.name), .int64(migration.checksum)]))
        }
        if count == 0 {
            statements.append(
                Statement("INSERT INTO esper.cluster (cluster_id) VALUES ($1)", [.text(cluster.description)]))
        }
        _ = try await client.execute(statements, within: Self.deadline, isAlone: true)
    }

    private func checkCluster() async throws(PostgreSQLError) {
        let owner = try await client.query(Statement("SELECT cluster_id FROM esper.cluster")).only().text("cluster_id")
        guard owner == cluster.description else {
            throw PostgreSQLError(
                .server, "the catalog belongs to another cluster", sqlState: CatalogError.State.otherCluster,
                detail: owner)
        }
    }
}
