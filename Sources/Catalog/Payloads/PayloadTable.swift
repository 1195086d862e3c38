public import EsperTypes
public import PostgreSQL

/// Bytes of the cache's blobs, by digest, in `esper.cache_payload`.
///
/// Nothing here hashes what it reads: whoever takes bytes out checks them. Calls take any number of digests and send
/// them in bounded requests; a call that fails may have done a part, and every call may be repeated.
///
/// The client should be one of its own: what waits here must not delay the projection of the audit trail.
public struct PayloadTable: Sendable {
    /// Of one payload.
    public static let maximumBytes = 1 << 20
    /// Bytes that one request sends or brings, when a single payload has not more.
    static let requestBytes = 4 << 20
    /// Digests of one request.
    static let requestDigests = 1024

    let client: PostgreSQLClient
    private let cluster: ClusterID

    public init(client: PostgreSQLClient, cluster: ClusterID) {
        self.client = client
        self.cluster = cluster
    }

    /// What a read found.
    public struct Found: Sendable {
        /// As they stand there, unchecked.
        public var payloads: [Digest: [UInt8]] = [:]
        /// Of those, the ones whose last use was noted long ago; ``touch(_:within:)`` notes this one.
        public var untouched: [Digest] = []
    }

    /// Returns when the schema is in place and is this cluster's.
    public func check(within deadline: Duration) async throws(CatalogError) {
        let (owner, isThere): (String, Bool)
        do throws(PostgreSQLError) {
            let row = try await client.query(
                Statement(
                    "SELECT cluster_id, to_regclass('esper.cache_payload') IS NOT NULL AS found FROM esper.cluster"),
                within: deadline
            ).only()
            (owner, isThere) = (try row.text("cluster_id"), try row.bool("found"))
        } catch {
            throw CatalogError(error)
        }
        guard owner == cluster.description else { throw .otherCluster(owner) }
        guard isThere else {
            throw .database(PostgreSQLError(.unavailable, "the catalog has no table for payloads yet"))
        }
    }

    // MARK: Verbs

    /// Creates the rows. A payload that is there stays when its bytes are right, and is replaced when they are not.
    ///
    /// - Parameter payloads: of ``maximumBytes`` at most.
    public func put(_ payloads: [Digest: [UInt8]], within deadline: Duration) async throws(PostgreSQLError) {
        // Rows are locked in the order of their digests, so that writers seldom wait for one another in a circle.
        var rest = payloads.keys.sorted()[...]
        while !rest.isEmpty {
            var bytes = 0
            let part = rest.prefix(Self.requestDigests).prefix { digest in
                let isFirst = bytes == 0
                bytes += max(1, payloads[digest]?.count ?? 0)
                return isFirst || bytes <= Self.requestBytes
            }
            rest = rest.dropFirst(part.count)
            try await write(part.map { ($0, payloads[$0] ?? []) }, within: deadline)
        }
    }

    /// How often PostgreSQL may end one of several writers of the same rows for the sake of the others.
    private static let maximumDeadlocks = 5

    private func write(
        _ payloads: [(digest: Digest, bytes: [UInt8])], within deadline: Duration
    ) async throws(PostgreSQLError) {
        let statement = Statement(
            """
            INSERT INTO esper.cache_payload AS n (digest, size, payload)
            SELECT digest, length(payload), payload FROM unnest($1, $2) AS r (digest, payload)
            ON CONFLICT (digest) DO UPDATE SET
                payload = CASE WHEN sha256(n.payload) = n.digest THEN n.payload ELSE EXCLUDED.payload END,
                size = EXCLUDED.size, archived = n.archived AND (sha256(n.payload) = n.digest) IS TRUE,
                used_at = now()
            WHERE \(Self.isStale) OR n.payload IS NULL OR sha256(n.payload) <> n.digest
            """,
            [.digests(payloads.map(\.digest)), .byteStrings(payloads.map(\.bytes))])
        var deadlocks = 0
        while true {
            do throws(PostgreSQLError) {
                _ = try await client.query(statement, within: deadline)
                return
            } catch {
                deadlocks += 1
                // Nothing of the statement has happened, and the others are done soon.
                guard error.sqlState == "40P01", deadlocks <= Self.maximumDeadlocks else { throw error }
            }
        }
    }

    public func get(_ digests: [Digest], within deadline: Duration) async throws(PostgreSQLError) -> Found {
        var found = Found()
        for part in Self.parts(of: digests) {
            var wanted = Set(part)
            // Each round brings at least one, so the rounds end.
            while !wanted.isEmpty {
                let rows = try await client.query(Self.read(wanted.sorted()), within: deadline)
                var left: Set<Digest> = []
                for row in rows.all {
                    guard let digest = Digest(bytes: try row.bytes("digest")) else { continue }
                    if try row.isNull("payload") {
                        left.insert(digest)
                    } else {
                        found.payloads[digest] = try row.bytes("payload")
                        if try row.bool("is_untouched") { found.untouched.append(digest) }
                    }
                }
                wanted = left
            }
        }
        return found
    }

    /// The first of the payloads, up to the bytes of a request; of the others the digests alone. What is not kept
    /// compressed is not read from the disk for them.
    private static func read(_ digests: [Digest]) -> Statement {
        Statement(
            """
            SELECT digest, CASE WHEN bytes_before < $2 THEN payload END AS payload,
                used_at < now() - interval '1 hour' AS is_untouched
            FROM (
                SELECT digest, payload, used_at, sum(size) OVER (ORDER BY digest) - size AS bytes_before
                FROM esper.cache_payload WHERE digest = ANY($1) AND payload IS NOT NULL) AS r
            """, [.digests(digests), .int64(Int64(requestBytes - maximumBytes))])
    }

    public func has(_ digests: [Digest], within deadline: Duration) async throws(PostgreSQLError) -> Set<Digest> {
        try await forParts(
            digests,
            """
            SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) AND payload IS NOT NULL
            """, within: deadline)
    }

    /// Those of the digests that are there. It is a use of them, so that whoever removes what is unused leaves them
    /// (``remove(_:unusedFor:within:)``).
    public func keep(_ digests: [Digest], within deadline: Duration) async throws(PostgreSQLError) -> Set<Digest> {
        _ = try await forParts(
            digests,
            """
            UPDATE esper.cache_payload SET used_at = now() WHERE digest IN (
                SELECT digest FROM esper.cache_payload AS n WHERE digest = ANY($1) AND \(Self.isStale)
                ORDER BY digest FOR UPDATE)
            RETURNING digest
            """, within: deadline)
        return try await has(digests, within: deadline)
    }

    /// A use by a store is noted when the last one is older.
    private static let isStale = "n.used_at < now() - interval '1 minute'"

    /// A row.
    public struct Row: Hashable, Sendable {
        public var digest: Digest
        public var size: Int
    }

    /// Rows that nobody used for so long, without payload those too, in the order of their digests.
    public func idle(
        for idle: Duration, after last: Digest?, limit: Int, within deadline: Duration
    ) async throws(PostgreSQLError) -> [Row] {
        let rows = try await client.query(
            Statement(
                """
                SELECT digest, size FROM esper.cache_payload WHERE digest > $1 AND \(Self.isIdle("$2"))
                ORDER BY digest LIMIT $3
                """, [.bytes(last?.bytes ?? []), Self.microseconds(idle), .int64(Int64(limit))]),
            within: deadline)
        var found: [Row] = []
        for row in rows.all {
            guard let digest = Digest(bytes: try row.bytes("digest")) else { continue }
            found.append(Row(digest: digest, size: Int(try row.int64("size"))))
        }
        return found
    }

    /// Removes the rows of those that nobody used for so long: a use that is noted while it waits for the row saves it.
    ///
    /// - Returns: which those were.
    public func remove(
        _ digests: [Digest], unusedFor idle: Duration, within deadline: Duration
    ) async throws(PostgreSQLError) -> Set<Digest> {
        try await forParts(
            digests,
            """
            DELETE FROM esper.cache_payload WHERE \(Self.isIdle("$2")) AND digest IN (
                SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) ORDER BY digest FOR UPDATE)
            RETURNING digest
            """, [Self.microseconds(idle)], within: deadline)
    }

    /// They were used now. Rows that somebody else changes at this moment are left out.
    public func touch(_ digests: [Digest], within deadline: Duration) async throws(PostgreSQLError) {
        _ = try await forParts(
            digests,
            """
            UPDATE esper.cache_payload SET used_at = now() WHERE digest IN (
                SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) ORDER BY digest FOR UPDATE SKIP LOCKED)
            RETURNING digest
            """, within: deadline)
    }

    /// Afterwards there is no row of any of them.
    public func delete(_ digests: [Digest], within deadline: Duration) async throws(PostgreSQLError) {
        _ = try await forParts(
            digests,
            """
            DELETE FROM esper.cache_payload WHERE digest IN (
                SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) ORDER BY digest FOR UPDATE)
            RETURNING digest
            """, within: deadline)
    }

    /// Removes the rows of those whose bytes have another SHA-256.
    ///
    /// - Returns: which those were.
    @discardableResult
    public func deleteDamaged(
        _ digests: [Digest], within deadline: Duration
    ) async throws(PostgreSQLError) -> Set<Digest> {
        try await forParts(
            digests,
            """
            DELETE FROM esper.cache_payload WHERE sha256(payload) <> digest AND digest IN (
                SELECT digest FROM esper.cache_payload WHERE digest = ANY($1) ORDER BY digest FOR UPDATE)
            RETURNING digest
            """, within: deadline)
    }

    // MARK: Requests

    static func parts(of digests: [Digest]) -> [ArraySlice<Digest>] {
        let sorted = Set(digests).sorted()
        return stride(from: 0, to: sorted.count, by: requestDigests).map {
            sorted[$0..<min($0 + requestDigests, sorted.count)]
        }
    }

    /// - Parameter sql: takes digests as its first parameter and answers with some of them.
    func forParts(
        _ digests: [Digest], _ sql: String, _ parameters: [SQLValue] = [], within deadline: Duration
    ) async throws(PostgreSQLError) -> Set<Digest> {
        var answered: Set<Digest> = []
        for part in Self.parts(of: digests) {
            let rows = try await client.query(Statement(sql, [.digests(part)] + parameters), within: deadline)
            for row in rows.all { answered.formUnion(Digest(bytes: try row.bytes("digest")).map { [$0] } ?? []) }
        }
        return answered
    }
}

extension SQLValue {
    static func digests(_ digests: some Sequence<Digest>) -> SQLValue { .byteStrings(digests.map(\.bytes)) }
}
