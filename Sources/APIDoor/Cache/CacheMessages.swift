internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import KernelCache
internal import SwiftProtobuf

// Between the values of the cache and the messages of the wire.

extension ProtoCacheName {
    func full() throws(CacheFailure) -> [UInt8] { try ArtifactNames.full(tenant: tenant, name) }
}

extension BlobReference {
    init(_ message: ProtoCacheBlob) throws(CacheFailure) {
        guard let digest = Digest(bytes: message.sha256) else {
            throw CacheFailure(.invalid, "a blob's sha256 has 32 bytes")
        }
        self.init(digest: digest, size: message.size)
    }
}

extension Digest {
    /// - Returns: nil for an empty field.
    static func optional(_ bytes: Data, _ field: String) throws(CacheFailure) -> Digest? {
        guard !bytes.isEmpty else { return nil }
        guard let digest = Digest(bytes: bytes) else { throw CacheFailure(.invalid, "\(field) has 32 bytes, or none") }
        return digest
    }

    var data: Data { Data(bytes) }
}

extension ProtoCacheBlob {
    init(_ blob: BlobReference) {
        self.init()
        sha256 = blob.digest.data
        size = blob.size
    }
}

extension CacheTier {
    init?(_ name: ProtoCacheTierName) {
        switch name {
        case .memory: self = .memory
        case .peer: self = .peer
        case .redis: self = .redis
        case .catalog: self = .catalog
        case .archive: self = .archive
        case .unspecified, .UNRECOGNIZED: return nil
        }
    }

    var message: ProtoCacheTierName {
        switch self {
        case .memory: .memory
        case .peer: .peer
        case .redis: .redis
        case .catalog: .catalog
        case .archive: .archive
        }
    }
}

extension ProtoCacheBinding {
    init(_ binding: Binding) {
        self.init()
        switch binding.kind {
        case .action: kind = .action
        case .alias: kind = .alias
        }
        switch binding.state {
        case .live: state = .live
        case .tombstone: state = .tombstone
        case .quarantined: state = .quarantined
        }
        manifest = binding.manifest.data
        version = binding.version.rawValue
        costMs = binding.costMilliseconds
        size = binding.size
        tiers = binding.tiers.tiers.map(\.message)
        lineage = binding.lineage?.data ?? Data()
        expiresUnixMs = binding.expires / 1_000_000
    }
}

extension ProtoCacheFile {
    init(_ file: Manifest.File) {
        self.init()
        name = file.name
        size = file.size
        switch file.content {
        case .inline(let bytes): inline = Data(bytes)
        case .blobs(let blobs): self.blobs = blobs.map(ProtoCacheBlob.init)
        }
    }
}

extension ProtoCacheToken {
    init(_ token: CompileToken) {
        self.init()
        number = token.number
        lifetimeMs = token.lifetime.milliseconds
    }
}

extension StoreMode {
    init(_ message: ProtoCacheMode) throws(CacheFailure) {
        switch message {
        case .durable: self = .durable
        case .memory: self = .memory
        case .archived: self = .archived
        case .UNRECOGNIZED(let number): throw CacheFailure(.invalid, "an unknown mode, \(number)")
        }
    }
}

extension Binding.Kind {
    init(_ message: ProtoCacheKind) throws(CacheFailure) {
        switch message {
        case .action: self = .action
        case .alias: self = .alias
        case .UNRECOGNIZED(let number): throw CacheFailure(.invalid, "an unknown kind, \(number)")
        }
    }
}

extension KernelCache.StoreRequest {
    /// Without its manifest, which comes after.
    init(_ header: ProtoStoreHeader, principal: String, deadline: Instant) throws(CacheFailure) {
        let condition: Condition =
            switch header.condition {
            case nil, .expectAbsent(false): .byKind
            case .expectVersion(let version): .version(LogIndex(version))
            case .expectAbsent(true): .version(nil)
            }
        self.init(
            name: try header.name.full(), kind: try Binding.Kind(header.kind),
            manifest: Manifest(writer: "", files: []),
            mode: try StoreMode(header.mode), condition: condition, costMilliseconds: header.costMs,
            lineage: try Digest.optional(header.lineage, "lineage"),
            lifetime: header.ttlMs == 0 ? nil : .milliseconds(Int64(clamping: header.ttlMs)),
            request: CacheRequestName(header.requestID), principal: principal, deadline: deadline)
    }
}

extension CacheRequestName {
    /// Nil: the caller names no client.
    init?(_ id: ProtoRequestID) {
        guard id.clientID != 0 else { return nil }
        self.init(
            client: ClientID(id.clientID), sequence: id.sequence, acknowledgedThrough: id.acknowledgedThrough)
    }
}

extension ProtoStoreResponse {
    init(_ reply: StoreReply) {
        self.init()
        outcome = .committed
        binding = ProtoCacheBinding(reply.binding)
        stored = reply.isStored
        tiers = reply.tiers.tiers.map(\.message)
    }
}

extension ProtoStatResponse {
    init(_ reply: StatReply) {
        self.init()
        statistics = ProtoCacheStatistics(reply.statistics)
        guard let status = reply.artifact else { return }
        artifact = .with {
            $0.binding = ProtoCacheBinding(status.binding)
            $0.writer = status.manifest?.writer ?? ""
            $0.files = status.manifest?.files.map(ProtoCacheFile.init) ?? []
            $0.blobs = UInt32(clamping: status.blobs)
            $0.held = status.held.sorted { $0.key < $1.key }.map { tier, blobs in
                .with {
                    $0.tier = tier.message
                    $0.blobs = UInt32(clamping: blobs)
                }
            }
        }
    }
}

extension ProtoCacheStatistics {
    init(_ statistics: CacheStatistics) {
        self.init()
        node = statistics.node
        hits = statistics.hits.sorted { $0.key < $1.key }.map { tier, reads in
            .with {
                $0.tier = tier.message
                $0.count = reads.count
                $0.bytes = reads.bytes
                $0.costMs = reads.costMilliseconds
            }
        }
        absent = statistics.absent
        lost = statistics.lost
        coalesced = statistics.coalesced
        localHits = statistics.localHits
        leaseRefusals = statistics.leaseRefusals
        stores = statistics.stores
        storesLost = statistics.storesLost
        evictions = statistics.evictions
        closureFailures = statistics.closureFailures
        quarantined = statistics.quarantined
        memory = Memory(statistics.memory)
        tiers = statistics.tiers.map { tier in
            .with {
                $0.tier = tier.tier.message
                $0.breaker = tier.breaker
                $0.failures = tier.failures
                $0.corrupt = tier.corrupt
                $0.reason = tier.reason
                $0.hits = tier.hits
                $0.hitBytes = tier.hitBytes
                $0.misses = tier.misses
                $0.writes = tier.writes
                $0.writtenBytes = tier.writtenBytes
            }
        }
        peers = statistics.peers.map { peer in
            .with {
                $0.name = peer.name
                $0.connected = peer.isConnected
                $0.breaker = peer.breaker
                $0.fetchedBlobs = peer.fetchedBlobs
                $0.fetchedBytes = peer.fetchedBytes
                $0.pushedBlobs = peer.pushedBlobs
                $0.pushedBytes = peer.pushedBytes
                $0.failures = peer.failures
                $0.corrupt = peer.corrupt
                $0.latencyUs = peer.microseconds
            }
        }
        loads = UInt64(clamping: statistics.loads)
        waiters = UInt64(clamping: statistics.waiters)
        tokens = UInt64(clamping: statistics.tokens)
        tokensGranted = statistics.tokensGranted
        tokensExpired = statistics.tokensExpired
        diskBlobs = statistics.diskBlobs
        diskBytes = statistics.diskBytes
        mapEpoch = statistics.mapEpoch
        shardsOwned = UInt64(clamping: statistics.shardsOwned)
        staleEpochRefusals = statistics.staleEpochRefusals
        garbageBlobs = statistics.garbageBlobs
        garbageBytes = statistics.garbageBytes
        warmedBytes = statistics.warmedBytes
        warmedHits = statistics.warmedHits
        syncDifferences = statistics.syncDifferences
    }
}

extension ProtoCacheStatistics.Memory {
    init(_ memory: CacheStatistics.Memory) {
        self.init()
        policy = memory.policy
        entries = UInt64(clamping: memory.entries)
        bytes = memory.bytes
        limitBytes = memory.limitBytes
        evictions = memory.evictions
        ghostHits = memory.ghostHits
        shadows = memory.shadows.map { shadow in
            .with {
                $0.policy = shadow.policy
                $0.hits = shadow.hits
                $0.misses = shadow.misses
            }
        }
    }
}
