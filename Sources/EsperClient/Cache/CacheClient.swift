public import CacheCore
internal import EsperProtocol
public import EsperTypes
internal import FoundationEssentials
internal import SwiftProtobuf

extension EsperClient {
    /// The cluster's cache of kernels and other artifacts.
    public var cache: CacheClient { CacheClient(client: self) }
}

/// Artifacts of a cluster, stored and found from any node.
///
/// Every byte that is handed out was checked against its digest here. Whatever can be asked twice without a second effect is asked
/// again, on another node if need be; what remains is told apart in ``EsperError/outcome``.
public struct CacheClient: Sendable {
    let client: EsperClient

    /// What a name stands for, and its files' names, sizes and digests, without their bytes.
    public func header(
        _ name: ArtifactName, allowsStale: Bool = false
    ) async throws(EsperError) -> Retrieved<ArtifactHeader> {
        let download = CacheDownload(client, name, RetrieveOptions().allowing(stale: allowsStale))
        return try await download.header()
    }

    /// Drops copies, or the name itself.
    @discardableResult
    public func evict(_ name: ArtifactName, _ subject: EvictSubject = .name()) async throws(EsperError) -> EvictAnswer {
        let request = ProtoEvictRequest.with {
            $0.name = name.message
            switch subject {
            case .copy: $0.subject = .copy(true)
            case .tier(let tier): $0.subject = .tier(tier.message)
            case .name(let version): $0.subject = .version(version ?? 0)
            }
        }
        let path = ProtoCacheMethod.evict.path
        let operation: Operation =
            switch subject {
            // A name must not be evicted a second time: it may stand for something new by then.
            case .name: .command(path: path, request, prefersLeader: false)
            case .copy, .tier: .repeatable(path: path, request, prefersLeader: false)
            }
        let response = try await client.run(operation, ProtoEvictResponse.self)
        return EvictAnswer(
            previous: response.hasPrevious ? Binding(response.previous) : nil, copies: response.copies,
            bytes: response.bytes)
    }

    /// Live names of a tenant, in order of their bytes.
    ///
    /// - Parameter limit: 1 ... 1000.
    public func list(
        prefix: ArtifactName = ArtifactName(""), after: [UInt8] = [], limit: Int = 1000
    ) async throws(EsperError) -> ArtifactList {
        let request = ProtoListArtifactsRequest.with {
            $0.prefix = prefix.message
            $0.after = Data(after)
            $0.limit = UInt32(clamping: limit)
        }
        let response = try await client.run(
            .repeatable(path: ProtoCacheMethod.list.path, request, prefersLeader: false),
            ProtoListArtifactsResponse.self)
        return ArtifactList(
            entries: response.entries.compactMap { entry in
                Binding(entry.binding).map { (ArtifactName([UInt8](entry.name), tenant: prefix.tenant), $0) }
            }, more: response.more)
    }

    /// Has the node that is asked take artifacts into its memory.
    ///
    /// - Parameters:
    ///   - budgetBytes: nil: what the node's memory allows.
    ///   - bytesPerSecond: nil: the node's setting.
    ///   - timeout: nil: the client's.
    public func warm(
        _ selection: WarmSelection, budgetBytes: UInt64? = nil, bytesPerSecond: UInt64? = nil,
        timeout: Duration? = nil
    ) async throws(EsperError) -> WarmAnswer {
        let request = ProtoWarmRequest.with {
            switch selection {
            case .top(let count): $0.selection = .top(UInt32(clamping: count))
            case .names(let names): $0.selection = .names(.with { $0.names = names.map(\.message) })
            case .lineage(let digest): $0.selection = .lineage(digest.data)
            }
            $0.budgetBytes = budgetBytes ?? 0
            $0.bytesPerSecond = bytesPerSecond ?? 0
        }
        let response = try await client.run(
            patient(.warm, request, timeout), ProtoWarmResponse.self)
        return WarmAnswer(
            artifacts: response.artifacts, blobs: response.blobs, bytes: response.bytes, present: response.present,
            missing: response.missing, warmedBytes: response.warmedBytes, warmedHits: response.warmedHits)
    }

    /// Compares what the holders of each shard have, and repairs what differs.
    ///
    /// - Parameters:
    ///   - shard: nil: all that the asked node holds.
    ///   - dryRun: only tell what differs.
    public func sync(
        shard: ShardID? = nil, dryRun: Bool = false, timeout: Duration? = nil
    ) async throws(EsperError) -> SyncAnswer {
        let request = ProtoSyncRequest.with {
            if let shard { $0.shard = UInt32(shard.rawValue) }
            $0.dryRun = dryRun
        }
        let response = try await client.run(patient(.sync, request, timeout), ProtoSyncResponse.self)
        return SyncAnswer(
            shards: response.shards, equal: response.equal, differences: response.differences,
            repairedBlobs: response.repairedBlobs, repairedBytes: response.repairedBytes,
            unreachable: response.unreachable, lost: response.lost, wrongRows: response.wrongRows,
            repairedRows: response.repairedRows)
    }

    /// Which node holds which shard.
    public func shardPlaces() async throws(EsperError) -> ShardPlaces {
        ShardPlaces(
            try await client.run(
                .repeatable(path: ProtoCacheMethod.shardMap.path, ProtoShardMapRequest(), prefersLeader: false),
                ProtoShardMapResponse.self))
    }

    /// Moves shards, stops moving them, or tells how far the moves are. Asked twice, it does nothing more.
    public func rebalance(_ action: RebalanceAction) async throws(EsperError) -> RebalanceStatus {
        RebalanceStatus(
            try await client.run(
                .repeatable(path: ProtoCacheMethod.rebalance.path, action.message, prefersLeader: false),
                ProtoRebalanceResponse.self))
    }

    /// What a node knows of its cache, and of a name.
    public func stat(_ name: ArtifactName? = nil) async throws(EsperError) -> CacheStat {
        let request = ProtoStatRequest.with { if let name { $0.name = name.message } }
        let response = try await client.run(
            .repeatable(path: ProtoCacheMethod.stat.path, request, prefersLeader: false), ProtoStatResponse.self)
        return CacheStat(response)
    }

    /// Which of some blobs have to be sent: they are not known to be held as a store in the given mode asks.
    public func missing(
        _ blobs: [BlobReference], mode: StoreMode = .durable
    ) async throws(EsperError) -> Set<BlobReference> {
        var missing: Set<BlobReference> = []
        var rest = blobs[...]
        while !rest.isEmpty {
            let request = ProtoFindMissingRequest.with {
                $0.mode = ProtoCacheMode(mode)
                $0.blobs = rest.prefix(Self.blobsPerRequest).map { blob in
                    .with {
                        $0.sha256 = blob.digest.data
                        $0.size = blob.size
                    }
                }
            }
            rest = rest.dropFirst(Self.blobsPerRequest)
            let response = try await client.run(
                .repeatable(path: ProtoCacheMethod.findMissing.path, request, prefersLeader: false),
                ProtoFindMissingResponse.self)
            for blob in response.missing {
                if let digest = Digest(bytes: blob.sha256) {
                    missing.insert(BlobReference(digest: digest, size: blob.size))
                }
            }
        }
        return missing
    }

    /// 40 bytes each.
    private static let blobsPerRequest = 4096

    /// Says that making something failed.
    ///
    /// - Parameter deterministic: the same input fails the same way everywhere.
    public func reportFailure(
        _ name: ArtifactName, _ token: MakeToken, _ message: String, deterministic: Bool
    ) async throws(EsperError) {
        let request = ProtoReportFailureRequest.with {
            $0.name = name.message
            $0.token = token.number
            $0.message = message
            $0.deterministic = deterministic
        }
        _ = try await client.runUncancelled(
            .repeatable(path: ProtoCacheMethod.reportFailure.path, request, prefersLeader: false),
            ProtoReportFailureResponse.self)
    }

    /// Keeps the right to make something for another lifetime.
    public func renew(_ name: ArtifactName, _ token: MakeToken) async throws(EsperError) -> MakeToken {
        let request = ProtoRenewTokenRequest.with {
            $0.name = name.message
            $0.token = token.number
        }
        let response = try await client.run(
            .repeatable(path: ProtoCacheMethod.renewToken.path, request, prefersLeader: false),
            ProtoRenewTokenResponse.self)
        return MakeToken(response.token)
    }

    /// Work of the server that takes long: one attempt may use all the time.
    private func patient(_ method: ProtoCacheMethod, _ request: some Message, _ timeout: Duration?) -> Operation {
        let timeout = timeout ?? client.options.timeout
        return .repeatable(path: method.path, request, prefersLeader: false, wait: timeout, timeout: timeout)
    }
}

extension RetrieveOptions {
    func allowing(stale: Bool) -> RetrieveOptions {
        var options = self
        options.allowsStale = stale
        return options
    }
}
