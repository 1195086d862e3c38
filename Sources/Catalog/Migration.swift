internal import EsperTypes

/// One step of the schema, applied once and never changed afterwards.
package struct Migration: Sendable {
    var number: Int
    var name: String
    /// Run in order, in one transaction with every other step that is due.
    var statements: [String]

    /// Tells an edited step from the one that was applied.
    var checksum: Int64 {
        var crc = CRC32C()
        for statement in statements {
            crc.update([UInt8](statement.utf8))
            crc.update([0])
        }
        return Int64(crc.checksum)
    }

    /// Every step, numbered from 1 without gaps.
    package static let all = [first, bindings, payloads]

    /// Nodes, terms, membership, the audit trail, and how far it was written by whom.
    private static let first = Migration(
        number: 1, name: "audit trail",
        statements: [
            """
            CREATE TABLE esper.cluster (
                singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
                cluster_id text NOT NULL,
                created_at timestamptz NOT NULL DEFAULT now())
            """,
            """
            CREATE TABLE esper.outbox_progress (
                singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
                log_index bigint NOT NULL DEFAULT 0,
                ordinal bigint NOT NULL DEFAULT 0,
                fence_term bigint NOT NULL DEFAULT 0,
                fence_holder text NOT NULL DEFAULT '',
                updated_at timestamptz NOT NULL DEFAULT now())
            """,
            "INSERT INTO esper.outbox_progress DEFAULT VALUES",
            """
            CREATE TABLE esper.audit_event (
                log_index bigint NOT NULL,
                ordinal bigint NOT NULL,
                term bigint NOT NULL,
                at timestamptz NOT NULL,
                kind text NOT NULL,
                actor text NOT NULL,
                subject text NOT NULL,
                revision bigint NOT NULL,
                details jsonb NOT NULL,
                recorded_at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (log_index, ordinal))
            """,
            "CREATE INDEX audit_event_at ON esper.audit_event (at)",
            // Subjects may be longer than a B-tree's entries can be; a hash takes any length.
            "CREATE INDEX audit_event_subject ON esper.audit_event USING hash (subject)",
            "CREATE INDEX audit_event_kind ON esper.audit_event (kind, log_index)",
            """
            CREATE TABLE esper.leadership_terms (
                term bigint PRIMARY KEY,
                node_name text NOT NULL,
                node_id text NOT NULL,
                started_at timestamptz NOT NULL,
                log_index bigint NOT NULL)
            """,
            """
            CREATE TABLE esper.membership_events (
                log_index bigint NOT NULL,
                ordinal bigint NOT NULL,
                at timestamptz NOT NULL,
                node_name text NOT NULL,
                change text NOT NULL,
                details jsonb NOT NULL,
                PRIMARY KEY (log_index, ordinal))
            """,
            """
            CREATE TABLE esper.nodes (
                name text PRIMARY KEY,
                node_id text NOT NULL,
                first_seen_at timestamptz NOT NULL,
                last_event_at timestamptz NOT NULL,
                last_event text NOT NULL,
                last_index bigint NOT NULL)
            """,
            // Locks the progress until the transaction ends, so that two leaders write one after the other, and
            // refuses whoever is not the latest. Called first in every transaction of the outbox.
            """
            CREATE FUNCTION esper.fence(cluster text, new_term bigint, holder text)
            RETURNS TABLE (log_index bigint, ordinal bigint) LANGUAGE plpgsql AS $$
            DECLARE
                progress esper.outbox_progress;
                owner text;
            BEGIN
                SELECT cluster_id INTO owner FROM esper.cluster;
                IF owner IS DISTINCT FROM cluster THEN
                    RAISE EXCEPTION 'the catalog belongs to another cluster'
                        USING ERRCODE = 'ES002', DETAIL = owner;
                END IF;
                SELECT * INTO STRICT progress FROM esper.outbox_progress FOR UPDATE;
                IF progress.fence_term > new_term
                    OR (progress.fence_term = new_term AND progress.fence_holder <> holder) THEN
                    RAISE EXCEPTION 'term % of % is over: % writes in term %',
                        new_term, holder, progress.fence_holder, progress.fence_term USING ERRCODE = 'ES001';
                END IF;
                IF progress.fence_term < new_term THEN
                    UPDATE esper.outbox_progress SET fence_term = new_term, fence_holder = holder, updated_at = now();
                END IF;
                RETURN QUERY SELECT progress.log_index, progress.ordinal;
            END
            $$
            """,
        ])
}
