public import Catalog
public import EsperTypes
internal import PostgreSQL

extension CatalogTier: ColdBlobs {
    public func cold(
        unusedFor idle: Duration, after last: PayloadTable.Cold?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> [PayloadTable.Cold] {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.cold(unusedFor: idle, after: last, limit: limit, within: time)
        }
    }

    public func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.get(digests, within: time).payloads
        }
    }

    public func markArchived(
        _ digests: [Digest], unusedFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.markArchived(digests, unusedFor: idle, within: time)
        }
    }

    public func dropArchived(
        _ digests: [Digest], unusedFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await call(deadline) { table, time throws(PostgreSQLError) in
            try await table.dropArchived(digests, unusedFor: idle, within: time)
        }
    }
}
