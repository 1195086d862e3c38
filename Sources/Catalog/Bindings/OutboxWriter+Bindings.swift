internal import Coordination
internal import PostgreSQL

extension OutboxWriter {
    /// Brings the rows of names up to date. What is older than a row changes nothing, however late it is written and by whom.
    static func bindings(_ rows: [BindingRow]) -> Statement {
        Statement(
            """
            INSERT INTO esper.cache_binding AS n (
                name, tenant, version, state, kind, manifest, lineage, size, cost_ms, mode, tiers, expires_at, actor,
                changed_at)
            SELECT decode(name, 'hex'), tenant, version, state, NULLIF(kind, ''), decode(NULLIF(manifest, ''), 'hex'),
                decode(NULLIF(lineage, ''), 'hex'), size, cost_ms, NULLIF(mode, ''), tiers::integer,
                timestamptz 'epoch' + NULLIF(expires, 0) * interval '1 microsecond', actor, changed_at
            FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS r (
                name, tenant, version, state, kind, manifest, lineage, size, cost_ms, mode, tiers, expires, actor,
                changed_at)
            ON CONFLICT (name) DO UPDATE SET
                version = EXCLUDED.version, state = EXCLUDED.state, kind = EXCLUDED.kind, manifest = EXCLUDED.manifest,
                lineage = EXCLUDED.lineage, size = EXCLUDED.size, cost_ms = EXCLUDED.cost_ms,
                expires_at = EXCLUDED.expires_at,
                tiers = CASE WHEN EXCLUDED.version = n.version THEN n.tiers | EXCLUDED.tiers ELSE EXCLUDED.tiers END,
                mode = CASE WHEN EXCLUDED.version = n.version THEN COALESCE(EXCLUDED.mode, n.mode) ELSE EXCLUDED.mode END,
                actor = CASE WHEN EXCLUDED.version = n.version AND EXCLUDED.mode IS NULL THEN n.actor
                    ELSE EXCLUDED.actor END,
                changed_at = CASE WHEN EXCLUDED.version = n.version AND EXCLUDED.mode IS NULL THEN n.changed_at
                    ELSE EXCLUDED.changed_at END
            WHERE EXCLUDED.version > n.version
                OR (EXCLUDED.version = n.version
                    AND (EXCLUDED.tiers | n.tiers <> n.tiers OR (n.mode IS NULL AND EXCLUDED.mode IS NOT NULL)))
            """,
            [
                .texts(rows.map(\.name)), .texts(rows.map(\.tenant)), .int64s(rows.map(\.version)),
                .texts(rows.map(\.state)), .texts(rows.map(\.kind)), .texts(rows.map(\.manifest)),
                .texts(rows.map(\.lineage)), .int64s(rows.map(\.size)), .int64s(rows.map(\.costMilliseconds)),
                .texts(rows.map(\.mode)), .int64s(rows.map(\.tiers)), .int64s(rows.map(\.expires)),
                .texts(rows.map(\.actor)), .timestamps(nanosecondsSince1970: rows.map(\.changed)),
            ])
    }
}
