public import CacheCore
public import EsperTypes
public import PostgreSQL

/// The rows of `esper.cache_binding`, for whoever compares them with what the cluster has agreed on and writes wrong ones anew.
/// Nothing is ever concluded from them.
public struct BindingTable: Sendable {
    /// What a row tells of a name, but for its tiers, which are noted later without a version of their own.
    public struct Row: Hashable, Sendable {
        public var name: [UInt8]
        public var version: LogIndex
        public var state: Binding.State
        /// Nil with the rest where nothing is bound.
        public var kind: Binding.Kind?
        public var manifest: Digest?
        public var lineage: Digest?
        public var size: UInt64 = 0
        public var costMilliseconds: UInt64 = 0
        /// In microseconds since 1970; 0: never.
        public var expires: UInt64 = 0

        /// Of a name that nothing is bound to.
        public init(nothingAt name: [UInt8], version: LogIndex) {
            self.name = name
            self.version = version
            state = .tombstone
        }

        /// As it should be.
        public init(_ name: [UInt8], _ binding: Binding) {
            self.init(nothingAt: name, version: binding.version)
            if binding.state == .tombstone { return }
            state = binding.state
            kind = binding.kind
            manifest = binding.manifest
            lineage = binding.lineage
            size = binding.size
            costMilliseconds = UInt64(binding.costMilliseconds)
            expires = binding.expires / 1000
        }
    }

    /// A row that should be another one.
    public struct Repair: Hashable, Sendable {
        public var row: Row
        public var tiers: TierSet
        /// The version that was found; a row that has another by now is left alone. Nil: there was no row.
        public var found: LogIndex?

        public init(_ row: Row, tiers: TierSet, found: LogIndex?) {
            self.row = row
            self.tiers = tiers
            self.found = found
        }
    }

    /// Of one request.
    public static let maximumRows = 4096

    private let client: PostgreSQLClient
    private let cluster: ClusterID
    /// Who says that he has repaired a row.
    private let actor: String

    /// - Parameter client: one of its own, so that nothing here delays the projection.
    public init(client: PostgreSQLClient, cluster: ClusterID, actor: String) {
        self.client = client
        self.cluster = cluster
        self.actor = CatalogText.escaped(actor)
    }

    /// Rows above `first` and up to `last`, in the order of their names: of the names given, and all that say that something is bound.
    ///
    /// - Parameter last: nil: to the end.
    /// - Returns: ``maximumRows`` at most; as many as that: there may be more.
    public func rows(
        after first: [UInt8]?, through last: [UInt8]?, and names: [[UInt8]], within deadline: Duration
    ) async throws(CatalogError) -> [Row] {
        try await rows(
            Statement(
                """
                SELECT \(Self.columns) FROM esper.cache_binding
                WHERE name > $1 AND ($2 OR name <= $3) AND (state <> 'tombstone' OR name = ANY($4))
                ORDER BY name LIMIT \(Self.maximumRows)
                """,
                [.bytes(first ?? []), .bool(last == nil), .bytes(last ?? []), .byteStrings(names)]),
            within: deadline)
    }

    /// Those of the names that have one.
    public func rows(of names: [[UInt8]], within deadline: Duration) async throws(CatalogError) -> [Row] {
        try await rows(
            Statement(
                "SELECT \(Self.columns) FROM esper.cache_binding WHERE name = ANY($1) ORDER BY name",
                [.byteStrings(names)]),
            within: deadline)
    }

    private static let columns = "name, version, state, kind, manifest, lineage, size, cost_ms, expires_at"

    private func rows(_ statement: Statement, within deadline: Duration) async throws(CatalogError) -> [Row] {
        do throws(PostgreSQLError) {
            let owner = Statement("SELECT cluster_id FROM esper.cluster")
            let results = try await client.execute([owner, statement], within: deadline)
            let cluster = try results[0].only().text("cluster_id")
            guard cluster == self.cluster.description else {
                throw PostgreSQLError(.invalidRequest, "the catalog belongs to cluster \(cluster)")
            }
            var rows: [Row] = []
            for row in results[1].all { rows.append(try Self.row(row)) }
            return rows
        } catch {
            throw CatalogError(error)
        }
    }

    /// What makes no sense is a row of nothing, and so a wrong one.
    private static func row(_ row: PostgreSQL.Row) throws(PostgreSQLError) -> Row {
        var found = Row(
            nothingAt: try row.bytes("name"), version: LogIndex(UInt64(clamping: try row.int64("version"))))
        switch try row.text("state") {
        case "live": found.state = .live
        case "quarantined": found.state = .quarantined
        default: return found
        }
        if try !row.isNull("kind") { found.kind = try row.text("kind") == "action" ? .action : .alias }
        if try !row.isNull("manifest") { found.manifest = Digest(bytes: try row.bytes("manifest")) }
        if try !row.isNull("lineage") { found.lineage = Digest(bytes: try row.bytes("lineage")) }
        found.size = UInt64(clamping: try row.int64("size"))
        found.costMilliseconds = UInt64(clamping: try row.int64("cost_ms"))
        if try !row.isNull("expires_at") {
            found.expires = UInt64(clamping: try row.microsecondsSince1970("expires_at"))
        }
        return found
    }

    /// Writes them as they should be, unless somebody has written them since they were found.
    ///
    /// - Returns: how many were.
    public func repair(_ repairs: [Repair], within deadline: Duration) async throws(CatalogError) -> Int {
        if repairs.isEmpty { return 0 }
        // In the order of their names, as the projection writes them, so that neither waits for the other in a circle.
        let repairs = repairs.sorted { $0.row.name.lexicographicallyPrecedes($1.row.name) }
        let rows = repairs.map(\.row)
        let statement = Statement(
            """
            INSERT INTO esper.cache_binding AS n (
                name, tenant, version, state, kind, manifest, lineage, size, cost_ms, tiers, expires_at, actor, changed_at)
            SELECT name, tenant, version, state, NULLIF(kind, ''), decode(NULLIF(manifest, ''), 'hex'),
                decode(NULLIF(lineage, ''), 'hex'), size, cost_ms, tiers::integer,
                timestamptz 'epoch' + NULLIF(expires, 0) * interval '1 microsecond', $12, now()
            FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS r (
                name, tenant, version, state, kind, manifest, lineage, size, cost_ms, tiers, expires)
            WHERE EXISTS (SELECT 1 FROM esper.cluster WHERE cluster_id = $14)
            ON CONFLICT (name) DO UPDATE SET
                version = EXCLUDED.version, state = EXCLUDED.state, kind = EXCLUDED.kind, manifest = EXCLUDED.manifest,
                lineage = EXCLUDED.lineage, size = EXCLUDED.size, cost_ms = EXCLUDED.cost_ms, tiers = EXCLUDED.tiers,
                expires_at = EXCLUDED.expires_at, actor = EXCLUDED.actor, changed_at = EXCLUDED.changed_at,
                mode = CASE WHEN n.version = EXCLUDED.version AND EXCLUDED.kind IS NOT NULL THEN n.mode END
            WHERE n.version = (SELECT s.found FROM unnest($1, $13) AS s (name, found) WHERE s.name = n.name)
            """,
            [
                .byteStrings(rows.map(\.name)), .texts(rows.map(Self.tenant)),
                .int64s(rows.map { Int64(clamping: $0.version.rawValue) }), .texts(rows.map(Self.state)),
                .texts(rows.map { $0.kind.map { $0 == .action ? "action" : "alias" } ?? "" }),
                .texts(rows.map { $0.manifest?.description ?? "" }),
                .texts(rows.map { $0.lineage?.description ?? "" }), .int64s(rows.map { Int64(clamping: $0.size) }),
                .int64s(rows.map { Int64(clamping: $0.costMilliseconds) }),
                .int64s(repairs.map { Int64($0.tiers.rawValue) }), .int64s(rows.map { Int64(clamping: $0.expires) }),
                .text(actor), .int64s(repairs.map { $0.found.map { Int64(clamping: $0.rawValue) } ?? -1 }),
                .text(cluster.description),
            ])
        do throws(PostgreSQLError) {
            return try await client.query(statement, within: deadline).affected
        } catch {
            throw CatalogError(error)
        }
    }

    private static func tenant(_ row: Row) -> String {
        CatalogText.escaped(String(String(decoding: row.name, as: UTF8.self).prefix { $0 != "/" }))
    }

    private static func state(_ row: Row) -> String {
        switch row.state {
        case .live: "live"
        case .quarantined: "quarantined"
        case .tombstone: "tombstone"
        }
    }
}
