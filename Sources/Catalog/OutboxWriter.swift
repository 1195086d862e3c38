package import Coordination
package import EsperTypes
package import PostgreSQL

/// Writes records into the catalog, each batch in one transaction that begins with the fence.
///
/// A batch is repeated without harm: the position of a record is its key. A transaction of a leader whose successor
/// has fenced is refused as a whole, so a deposed leader writes nothing.
package struct OutboxWriter: Sendable {
    private let client: PostgreSQLClient
    private let cluster: ClusterID
    private let holder: String
    private let deadline: Duration

    /// - Parameters:
    ///   - holder: the name of this node.
    ///   - deadline: of each transaction.
    package init(client: PostgreSQLClient, cluster: ClusterID, holder: String, deadline: Duration) {
        self.client = client
        self.cluster = cluster
        self.holder = holder
        self.deadline = deadline
    }

    /// Keeps leaders of earlier terms out from now on.
    ///
    /// - Returns: the position through which everything is stored.
    package func fence(_ term: Term) async throws(CatalogError) -> OutboxRecord.ID {
        do throws(PostgreSQLError) {
            let row = try await client.execute([fenceStatement(term)], within: deadline, isAlone: true)[0].only()
            return OutboxRecord.ID(
                index: LogIndex(UInt64(try row.int64("log_index"))),
                ordinal: UInt32(clamping: try row.int64("ordinal")))
        } catch {
            throw CatalogError(error)
        }
    }

    /// Stores the records, which ascend, and the progress, or nothing.
    package func write(_ records: [OutboxRecord], term: Term) async throws(CatalogError) {
        guard let last = records.last else { return }
        var statements = [fenceStatement(term), Self.events(records)]
        let leaders = records.filter { $0.kind == .leadershipStarted }
        if !leaders.isEmpty { statements.append(Self.terms(leaders)) }
        let changes = records.filter { $0.kind == .membershipChanged }
        if !changes.isEmpty { statements.append(Self.memberships(changes)) }
        if !leaders.isEmpty || !changes.isEmpty {
            statements.append(
                Self.nodes(records.filter { $0.kind == .leadershipStarted || $0.kind == .membershipChanged }))
        }
        let names = BindingRow.rows(of: records)
        if !names.isEmpty { statements.append(Self.bindings(names)) }
        statements.append(
            Statement(
                """
                UPDATE esper.outbox_progress SET log_index = $1, ordinal = $2, updated_at = now()
                WHERE (log_index, ordinal) < ($1, $2)
                """, [.int64(Int64(clamping: last.id.index.rawValue)), .int64(Int64(last.id.ordinal))]))
        do throws(PostgreSQLError) {
            _ = try await client.execute(statements, within: deadline, isAlone: true)
        } catch {
            throw CatalogError(error)
        }
    }

    // MARK: Statements

    private func fenceStatement(_ term: Term) -> Statement {
        Statement(
            "SELECT log_index, ordinal FROM esper.fence($1, $2, $3)",
            [.text(cluster.description), .int64(Int64(clamping: term.rawValue)), .text(CatalogText.escaped(holder))])
    }

    private static func events(_ records: [OutboxRecord]) -> Statement {
        Statement(
            """
            INSERT INTO esper.audit_event (log_index, ordinal, term, at, kind, actor, subject, revision, details)
            SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
            """,
            [
                indices(records), ordinals(records), terms(of: records), times(records),
                .texts(records.map(\.kind.name)), .texts(records.map { CatalogText.escaped($0.actor) }),
                .texts(records.map { CatalogText.escaped($0.subject) }),
                .int64s(records.map { Int64(clamping: $0.revision.rawValue) }),
                .jsons(records.map { CatalogText.json($0.fields) }),
            ])
    }

    private static func terms(_ records: [OutboxRecord]) -> Statement {
        Statement(
            """
            INSERT INTO esper.leadership_terms (term, started_at, log_index, node_name, node_id)
            SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
            """,
            [
                terms(of: records), times(records), indices(records), names(records),
                .texts(records.map { field("node_id", of: $0) }),
            ])
    }

    private static func memberships(_ records: [OutboxRecord]) -> Statement {
        Statement(
            """
            INSERT INTO esper.membership_events (log_index, ordinal, at, node_name, change, details)
            SELECT * FROM unnest($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
            """,
            [
                indices(records), ordinals(records), times(records), names(records),
                .texts(records.map { field("change", of: $0) }), .jsons(records.map { CatalogText.json($0.fields) }),
            ])
    }

    /// The latest event of each node wins; an older one, written again, changes nothing.
    private static func nodes(_ records: [OutboxRecord]) -> Statement {
        Statement(
            """
            INSERT INTO esper.nodes AS n (name, node_id, first_seen_at, last_event_at, last_event, last_index)
            SELECT DISTINCT ON (name) name, node_id, min(at) OVER (PARTITION BY name), at, event, log_index
            FROM unnest($1, $2, $3, $4, $5) AS e (name, node_id, at, event, log_index)
            ORDER BY name, log_index DESC
            ON CONFLICT (name) DO UPDATE SET
                node_id = CASE WHEN EXCLUDED.node_id = '' THEN n.node_id ELSE EXCLUDED.node_id END,
                last_event_at = EXCLUDED.last_event_at, last_event = EXCLUDED.last_event,
                last_index = EXCLUDED.last_index
            WHERE EXCLUDED.last_index > n.last_index
            """,
            [
                names(records), .texts(records.map { field("node_id", of: $0) }), times(records),
                .texts(
                    records.map { $0.kind == .leadershipStarted ? $0.kind.name : field("change", of: $0) }),
                indices(records),
            ])
    }

    private static func indices(_ records: [OutboxRecord]) -> SQLValue {
        .int64s(records.map { Int64(clamping: $0.id.index.rawValue) })
    }

    private static func ordinals(_ records: [OutboxRecord]) -> SQLValue {
        .int64s(records.map { Int64($0.id.ordinal) })
    }

    private static func terms(of records: [OutboxRecord]) -> SQLValue {
        .int64s(records.map { Int64(clamping: $0.term.rawValue) })
    }

    private static func times(_ records: [OutboxRecord]) -> SQLValue {
        .timestamps(nanosecondsSince1970: records.map { Int64(clamping: $0.time) })
    }

    /// A name is a key of a B-tree, whose entries end at 2704 bytes: 255 scalars stay below half of that.
    private static func names(_ records: [OutboxRecord]) -> SQLValue {
        .texts(
            records.map { String(String.UnicodeScalarView(CatalogText.escaped($0.subject).unicodeScalars.prefix(255))) }
        )
    }

    private static func field(_ name: String, of record: OutboxRecord) -> String {
        CatalogText.escaped(record.fields.last { $0.name == name }?.value ?? "")
    }
}
