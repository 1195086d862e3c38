internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import KernelCache
internal import SwiftProtobuf

extension CacheCall {
    private static let usualTime = Duration.seconds(5)
    /// Of work that goes through much.
    private static let longTime = Duration.seconds(60)
    static let maximumBlobs = 4096
    static let maximumNames = 1000
    private static let messageBytes = 4 << 10

    /// The answer to one request.
    func answer(_ bytes: [UInt8]) async throws(CacheFailure) -> [UInt8] {
        let message: any SwiftProtobuf.Message
        switch method {
        case .findMissing: message = try await findMissing(try Self.parse(ProtoFindMissingRequest.self, bytes))
        case .evict: message = try await evict(try Self.parse(ProtoEvictRequest.self, bytes))
        case .list: message = try await list(try Self.parse(ProtoListArtifactsRequest.self, bytes))
        case .warm: message = try await warm(try Self.parse(ProtoWarmRequest.self, bytes))
        case .sync: message = try await sync(try Self.parse(ProtoSyncRequest.self, bytes))
        case .stat: message = try await stat(try Self.parse(ProtoStatRequest.self, bytes))
        case .reportFailure: message = try await reportFailure(try Self.parse(ProtoReportFailureRequest.self, bytes))
        case .renewToken: message = try await renewToken(try Self.parse(ProtoRenewTokenRequest.self, bytes))
        case .shardMap: message = ProtoShardMapResponse(cache.shardMap())
        case .rebalance: message = try await rebalance(try Self.parse(ProtoRebalanceRequest.self, bytes))
        case .retrieve, .store: throw CacheFailure(.invalid, "a stream")
        }
        do {
            return try message.serializedBytes()
        } catch {
            throw CacheFailure(.invalid, "the answer cannot be written: \(error)")
        }
    }

    private func findMissing(_ message: ProtoFindMissingRequest) async throws(CacheFailure) -> ProtoFindMissingResponse
    {
        guard message.blobs.count <= Self.maximumBlobs else {
            throw CacheFailure(.invalid, "at most \(Self.maximumBlobs) blobs at once")
        }
        var blobs: [BlobReference] = []
        for blob in message.blobs { blobs.append(try BlobReference(blob)) }
        let missing = try await cache.missing(
            blobs, mode: try StoreMode(message.mode), deadline: deadline(orWithin: Self.usualTime))
        return .with { $0.missing = missing.map(ProtoCacheBlob.init) }
    }

    private func evict(_ message: ProtoEvictRequest) async throws(CacheFailure) -> ProtoEvictResponse {
        let subject: KernelCache.EvictRequest.Subject
        switch message.subject {
        case .copy(true)?: subject = .copy
        case .tier(let name)?:
            guard let tier = CacheTier(name) else { throw CacheFailure(.invalid, "an unknown tier") }
            subject = .tier(tier)
        case .version(let version)?: subject = .name(version: version == 0 ? nil : LogIndex(version))
        case .copy(false)?, nil: throw CacheFailure(.invalid, "say what to evict: copy, tier or version")
        }
        let reply = try await cache.evict(
            KernelCache.EvictRequest(
                name: try message.name.full(), subject: subject, request: CacheRequestName(message.requestID),
                principal: principal, deadline: deadline(orWithin: Self.usualTime)))
        return .with {
            $0.outcome = .committed
            if let previous = reply.previous { $0.previous = ProtoCacheBinding(previous) }
            $0.copies = UInt64(clamping: reply.copies)
            $0.bytes = reply.bytes
        }
    }

    private func list(_ message: ProtoListArtifactsRequest) async throws(CacheFailure) -> ProtoListArtifactsResponse {
        let tenant = try ArtifactNames.prefix(tenant: message.prefix.tenant)
        let limit = message.limit == 0 ? Self.maximumNames : min(Int(message.limit), Self.maximumNames)
        let reply = try await cache.list(
            ListRequest(
                prefix: tenant + message.prefix.name, after: message.after.isEmpty ? nil : tenant + message.after,
                limit: limit, principal: principal, deadline: deadline(orWithin: Self.usualTime)))
        return .with {
            $0.entries = reply.bindings.map { name, binding in
                .with {
                    $0.name = Data(ArtifactNames.rest(of: name))
                    $0.binding = ProtoCacheBinding(binding)
                }
            }
            $0.more = reply.more
        }
    }

    private func warm(_ message: ProtoWarmRequest) async throws(CacheFailure) -> ProtoWarmResponse {
        let subject: KernelCache.WarmRequest.Subject
        switch message.selection {
        case .top(let count)?: subject = .hottest(count: Int(count))
        case .names(let names)?:
            var full: [[UInt8]] = []
            for name in names.names { full.append(try name.full()) }
            subject = .names(full)
        case .lineage(let bytes)?:
            guard let digest = Digest(bytes: bytes) else { throw CacheFailure(.invalid, "a lineage has 32 bytes") }
            subject = .lineage(digest)
        case nil: throw CacheFailure(.invalid, "say what to warm: top, names or lineage")
        }
        let reply = try await cache.warm(
            KernelCache.WarmRequest(
                subject: subject, maximumBytes: message.budgetBytes == 0 ? .max : message.budgetBytes,
                bytesPerSecond: message.bytesPerSecond == 0 ? nil : message.bytesPerSecond, principal: principal,
                deadline: deadline(orWithin: Self.longTime)))
        return .with {
            $0.artifacts = UInt64(clamping: reply.artifacts)
            $0.blobs = UInt64(clamping: reply.blobs)
            $0.bytes = reply.bytes
            $0.present = UInt64(clamping: reply.present)
            $0.missing = UInt64(clamping: reply.missing)
            $0.warmedBytes = reply.warmedBytes
            $0.warmedHits = reply.warmedHits
        }
    }

    private func sync(_ message: ProtoSyncRequest) async throws(CacheFailure) -> ProtoSyncResponse {
        var shard: ShardID?
        if message.hasShard {
            guard let wanted = ShardID(Int(message.shard)) else {
                throw CacheFailure(.invalid, "a shard is one of 0 to \(ShardID.count - 1)")
            }
            shard = wanted
        }
        let reply = try await cache.sync(
            KernelCache.SyncRequest(
                shard: shard, isDryRun: message.dryRun, principal: principal,
                deadline: deadline(orWithin: Self.longTime)))
        return .with {
            $0.shards = UInt64(clamping: reply.shards)
            $0.equal = UInt64(clamping: reply.equal)
            $0.differences = UInt64(clamping: reply.differences)
            $0.repairedBlobs = UInt64(clamping: reply.repairedBlobs)
            $0.repairedBytes = reply.repairedBytes
            $0.unreachable = reply.unreachable
            $0.lost = UInt64(clamping: reply.lost)
            $0.wrongRows = UInt64(clamping: reply.wrongRows)
            $0.repairedRows = UInt64(clamping: reply.repairedRows)
        }
    }

    private func stat(_ message: ProtoStatRequest) async throws(CacheFailure) -> ProtoStatResponse {
        ProtoStatResponse(
            try await cache.stat(
                KernelCache.StatRequest(
                    name: message.hasName ? try message.name.full() : nil, principal: principal,
                    deadline: deadline(orWithin: Self.usualTime))))
    }

    private func rebalance(_ message: ProtoRebalanceRequest) async throws(CacheFailure) -> ProtoRebalanceResponse {
        ProtoRebalanceResponse(
            try await cache.rebalance(
                KernelCache.RebalanceRequest(
                    try message.asked(), principal: principal, deadline: deadline(orWithin: Self.usualTime))))
    }

    private func reportFailure(
        _ message: ProtoReportFailureRequest
    ) async throws(CacheFailure) -> ProtoReportFailureResponse {
        try await cache.reportFailure(
            FailureReport(
                name: try message.name.full(), token: CompileToken(number: message.token, lifetime: .zero),
                message: String(decoding: message.message.utf8.prefix(Self.messageBytes), as: UTF8.self),
                isDeterministic: message.deterministic, principal: principal,
                deadline: deadline(orWithin: Self.usualTime)))
        return ProtoReportFailureResponse()
    }

    private func renewToken(_ message: ProtoRenewTokenRequest) async throws(CacheFailure) -> ProtoRenewTokenResponse {
        let token = try await cache.renew(
            CompileToken(number: message.token, lifetime: .zero), name: try message.name.full(), principal: principal,
            deadline: deadline(orWithin: Self.usualTime))
        return .with { $0.token = ProtoCacheToken(token) }
    }
}
