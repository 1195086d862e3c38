public import EsperTypes
public import PostgreSQL

/// What leads a payload out of the table, once the archive has it: mark the row, then take the payload from it. A row that is
/// used meanwhile keeps its payload.
extension PayloadTable {
    /// A row that was not used for a while.
    public struct Cold: Hashable, Sendable {
        public var digest: Digest
        public var size: Int
        /// In microseconds since 1970, on the server's clock.
        public var used: Int64
    }

    /// Rows with a payload that nobody used for so long, the longest unused first, after the one given.
    public func cold(
        unusedFor idle: Duration, after last: Cold?, limit: Int, within deadline: Duration
    ) async throws(PostgreSQLError) -> [Cold] {
        let rows = try await client.query(
            Statement(
                """
                SELECT digest, size, used_at FROM esper.cache_payload
                WHERE payload IS NOT NULL AND \(Self.isIdle("$1"))
                    AND (used_at, digest) > (timestamptz 'epoch' + $2 * interval '1 microsecond', $3)
                ORDER BY used_at, digest LIMIT $4
                """,
                [
                    Self.microseconds(idle), .int64(last?.used ?? 0), .bytes(last?.digest.bytes ?? []),
                    .int64(Int64(limit)),
                ]),
            within: deadline)
        var cold: [Cold] = []
        for row in rows.all {
            guard let digest = Digest(bytes: try row.bytes("digest")) else { continue }
            cold.append(
                Cold(
                    digest: digest, size: Int(try row.int64("size")), used: try row.microsecondsSince1970("used_at")))
        }
        return cold
    }

    /// Notes that the archive has them.
    ///
    /// - Returns: those that are still unused.
    public func markArchived(
        _ digests: [Digest], unusedFor idle: Duration, within deadline: Duration
    ) async throws(PostgreSQLError) -> Set<Digest> {
        try await forParts(
            digests,
            """
            UPDATE esper.cache_payload SET archived = true WHERE payload IS NOT NULL AND \(Self.isIdle("$2"))
                AND digest IN (
                    SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) ORDER BY digest FOR UPDATE)
            RETURNING digest
            """, [Self.microseconds(idle)], within: deadline)
    }

    /// Takes the payloads of those that are marked; their rows stay.
    ///
    /// - Returns: those that had one and are still unused.
    public func dropArchived(
        _ digests: [Digest], unusedFor idle: Duration, within deadline: Duration
    ) async throws(PostgreSQLError) -> Set<Digest> {
        try await forParts(
            digests,
            """
            UPDATE esper.cache_payload SET payload = NULL
            WHERE archived AND payload IS NOT NULL AND \(Self.isIdle("$2")) AND digest IN (
                SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) ORDER BY digest FOR UPDATE)
            RETURNING digest
            """, [Self.microseconds(idle)], within: deadline)
    }

    static func isIdle(_ parameter: String) -> String {
        "used_at < now() - \(parameter) * interval '1 microsecond'"
    }

    static func microseconds(_ duration: Duration) -> SQLValue {
        .int64(duration.nanoseconds / 1000)
    }
}
