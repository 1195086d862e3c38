public import CacheCore
public import Catalog
public import EsperTypes
internal import PostgreSQL
internal import RaftRuntime
internal import Synchronization

/// Blobs in the catalog's PostgreSQL: those of at most 1 MiB, as long as they are used now and then (``Demotion``).
///
/// A put is durable when it returns, as PostgreSQL is. Before its first call it makes sure that the catalog is of this cluster
/// and has the table; until then it is unavailable.
public final class CatalogTier: BlobTier {
    public let tier = CacheTier.catalog
    private let table: PayloadTable
    /// Whether the catalog was found to be ours.
    private let isChecked = Atomic<Bool>(false)

    /// Noting a use must not hold up the read that it was.
    private static let touchLimit: Duration = .milliseconds(200)

    public init(_ table: PayloadTable) { self.table = table }

    public func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        let found = try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.get(digests, within: time)
        }
        if !found.untouched.isEmpty {
            // What is not noted as used may move to the archive too early, where it is found as well.
            try? await table.touch(found.untouched, within: min(Self.touchLimit, deadline - NodeClock.now()))
        }
        return found.payloads
    }

    public func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        if let large = blobs.first(where: { $0.bytes.count > PayloadTable.maximumBytes }) {
            throw TierFailure(
                tier, .invalid,
                "a blob of \(large.bytes.count) bytes; \(PayloadTable.maximumBytes) are kept in the catalog at most")
        }
        let payloads = Dictionary(blobs.map { ($0.digest, $0.bytes) }) { first, _ in first }
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.put(payloads, within: time)
        }
    }

    public func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.has(digests, within: time)
        }
    }

    public func keep(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.keep(digests, within: time)
        }
    }

    public func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs {
        let rows = try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.idle(for: idle, after: last, limit: limit, within: time)
        }
        return IdleBlobs(
            rows.map { BlobReference(digest: $0.digest, size: UInt32(clamping: $0.size)) },
            next: rows.count < limit ? nil : rows.last?.digest)
    }

    public func remove(
        _ digests: [Digest], idleFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.remove(digests, unusedFor: idle, within: time)
        }
    }

    public func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.delete(digests, within: time)
        }
    }

    public func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        _ = try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.deleteDamaged(digests, within: time)
        }
    }

    public func probe(deadline: Instant) async throws(TierFailure) { try await check(deadline) }

    // MARK: Calls

    func call<Value: Sendable>(
        _ deadline: Instant, _ body: (PayloadTable, Duration) async throws(PostgreSQLError) -> Value
    ) async throws(TierFailure) -> Value {
        if !isChecked.load(ordering: .relaxed) { try await check(deadline) }
        do throws(PostgreSQLError) {
            return try await body(table, try Self.time(until: deadline))
        } catch {
            throw TierFailure(error)
        }
    }

    private func check(_ deadline: Instant) async throws(TierFailure) {
        do throws(CatalogError) {
            try await table.check(within: max(.zero, deadline - NodeClock.now()))
            isChecked.store(true, ordering: .relaxed)
        } catch {
            isChecked.store(false, ordering: .relaxed)
            switch error {
            case .database(let error): throw TierFailure(error)
            case .otherCluster, .newerSchema, .changedMigration, .deposed:
                throw TierFailure(tier, .refused, error.description)
            }
        }
    }

    private static func time(until deadline: Instant) throws(PostgreSQLError) -> Duration {
        let time = deadline - NodeClock.now()
        guard time > .zero else { throw PostgreSQLError(.deadlineExceeded, "no time is left to ask") }
        return time
    }
}

extension TierFailure {
    init(_ error: PostgreSQLError) {
        let code: Code =
            switch error.kind {
            case .server: Self.code(ofState: error.sqlState ?? "")
            case .unavailable, .connectionLost: .unavailable
            case .deadlineExceeded: .timedOut
            case .cancelled: .cancelled
            case .overloaded: .overloaded
            case .shuttingDown: .stopped
            case .invalidRequest: .invalid
            case .unexpectedResult: .nonsense
            }
        self.init(.catalog, code, error.description)
    }

    /// What a SQLSTATE means for a tier (PostgreSQL documentation, appendix A).
    private static func code(ofState state: String) -> Code {
        switch state {
        // Disk full; out of memory; a bound that was configured.
        case "53100", "53200", "53400": .full
        // Not (yet) migrated.
        case "42P01", "42703", "3F000": .unavailable
        // Insufficient privilege; read-only role or database.
        case "42501": .refused
        // The statement's own time was over; a lock was not to be had.
        case "57014", "55P03": .timedOut
        // Collisions with other writers; too many connections; a standby that only reads.
        case "40001", "40P01", "53300", "25006": .unavailable
        default:
            switch state.prefix(2) {
            // Connections, resources, shutdown and crash.
            case "08", "53", "57": .unavailable
            // Authorization; no such database.
            case "28", "3D": .refused
            default: .nonsense
            }
        }
    }
}
