public import CacheCore
internal import EsperProtocol

/// What one node's cache has done since it started and how it stands: counts only grow, sizes are as of now.
public struct CacheStat: Hashable, Sendable {
    public struct Hits: Hashable, Sendable {
        public let tier: CacheTier
        public let count: UInt64
        public let bytes: UInt64
        /// What making them again would have taken.
        public let costMilliseconds: UInt64
    }

    public struct Shadow: Hashable, Sendable {
        public let policy: String
        public let hits: UInt64
        public let misses: UInt64
    }

    public struct Tier: Hashable, Sendable {
        public let tier: CacheTier
        /// `closed` (it is used), `open` (it is left alone after failures) or `half_open` (one call tries whether it is back).
        public let breaker: String
        /// Calls that failed, those included that were refused while the breaker was not closed.
        public let failures: UInt64
        /// Blobs from it that did not hash to their name.
        public let corrupt: UInt64
        /// Why it fails; empty while the breaker is closed.
        public let reason: String
        /// Blobs asked for and found, with their bytes; and not found.
        public let hits: UInt64
        public let hitBytes: UInt64
        public let misses: UInt64
        /// Blobs given to it.
        public let writes: UInt64
        public let writtenBytes: UInt64
    }

    public struct Peer: Hashable, Sendable {
        public let name: String
        public let isConnected: Bool
        /// `closed`, or `open` or `half_open` while it is not read from since it took reads and answered too late.
        public let breaker: String
        public let fetchedBlobs: UInt64
        public let fetchedBytes: UInt64
        public let pushedBlobs: UInt64
        public let pushedBytes: UInt64
        public let failures: UInt64
        /// Blobs that it sent and that were not those of their digests.
        public let corrupt: UInt64
        /// Of the last exchange.
        public let latencyMicroseconds: UInt64
    }

    /// One number, by the name that it has on the wire and in `--output json`.
    public struct Figure: Hashable, Sendable {
        public let name: String
        public let value: UInt64
    }

    public let node: String
    /// By where names were found; only tiers that had some.
    public let hits: [Hits]
    /// Everything that is one number.
    public let figures: [Figure]
    /// How this node's memory decides what it gives up.
    public let policy: String
    /// What other policies would have done with a sample of the reads.
    public let shadows: [Shadow]
    public let tiers: [Tier]
    public let peers: [Peer]
    /// Of the name that was asked for; nil: there is nothing.
    public let artifact: ArtifactStatus?

    /// One of the figures; nil: there is none of this name.
    public subscript(figure: String) -> UInt64? { figures.first { $0.name == figure }?.value }

    init(_ response: ProtoStatResponse) {
        let statistics = response.statistics
        node = statistics.node
        hits = statistics.hits.compactMap { hits in
            CacheTier(hits.tier).map {
                Hits(tier: $0, count: hits.count, bytes: hits.bytes, costMilliseconds: hits.costMs)
            }
        }
        figures = Self.figures(of: statistics)
        policy = statistics.memory.policy
        shadows = statistics.memory.shadows.map { Shadow(policy: $0.policy, hits: $0.hits, misses: $0.misses) }
        tiers = statistics.tiers.compactMap { tier in
            CacheTier(tier.tier).map {
                Tier(
                    tier: $0, breaker: tier.breaker, failures: tier.failures, corrupt: tier.corrupt,
                    reason: tier.reason, hits: tier.hits, hitBytes: tier.hitBytes, misses: tier.misses,
                    writes: tier.writes, writtenBytes: tier.writtenBytes)
            }
        }
        peers = statistics.peers.map { peer in
            Peer(
                name: peer.name, isConnected: peer.connected,
                // Nodes of earlier versions say nothing.
                breaker: peer.breaker.isEmpty ? "closed" : peer.breaker, fetchedBlobs: peer.fetchedBlobs,
                fetchedBytes: peer.fetchedBytes, pushedBlobs: peer.pushedBlobs, pushedBytes: peer.pushedBytes,
                failures: peer.failures, corrupt: peer.corrupt, latencyMicroseconds: peer.latencyUs)
        }
        artifact = response.hasArtifact ? ArtifactStatus(response.artifact) : nil
    }

    private static func figures(of statistics: ProtoCacheStatistics) -> [Figure] {
        let memory = statistics.memory
        let figures: KeyValuePairs<String, UInt64> = [
            "absent": statistics.absent, "lost": statistics.lost, "coalesced": statistics.coalesced,
            "local_hits": statistics.localHits, "lease_refusals": statistics.leaseRefusals,
            "stores": statistics.stores, "stores_lost": statistics.storesLost, "evictions": statistics.evictions,
            "closure_failures": statistics.closureFailures, "quarantined": statistics.quarantined,
            "memory_entries": memory.entries, "memory_bytes": memory.bytes, "memory_limit_bytes": memory.limitBytes,
            "memory_evictions": memory.evictions, "memory_ghost_hits": memory.ghostHits, "loads": statistics.loads,
            "waiters": statistics.waiters, "tokens": statistics.tokens, "tokens_granted": statistics.tokensGranted,
            "tokens_expired": statistics.tokensExpired, "disk_blobs": statistics.diskBlobs,
            "disk_bytes": statistics.diskBytes, "map_epoch": statistics.mapEpoch,
            "shards_owned": statistics.shardsOwned, "stale_epoch_refusals": statistics.staleEpochRefusals,
            "garbage_blobs": statistics.garbageBlobs, "garbage_bytes": statistics.garbageBytes,
            "warmed_bytes": statistics.warmedBytes, "warmed_hits": statistics.warmedHits,
            "sync_differences": statistics.syncDifferences,
        ]
        return figures.map { Figure(name: $0.key, value: $0.value) }
    }
}

/// One artifact, and where its bytes are.
public struct ArtifactStatus: Hashable, Sendable {
    public struct Held: Hashable, Sendable {
        public let tier: CacheTier
        /// How many of the blobs it was found to have.
        public let blobs: Int
    }

    public let binding: Binding
    /// Nil: no tier has it.
    public let manifest: Manifest?
    public let blobs: Int
    public let held: [Held]

    init?(_ message: ProtoArtifactStatus) {
        guard let binding = Binding(message.binding) else { return nil }
        self.binding = binding
        manifest = message.files.isEmpty ? nil : Manifest(writer: message.writer, message.files)
        blobs = Int(message.blobs)
        held = message.held.compactMap { held in
            CacheTier(held.tier).map { Held(tier: $0, blobs: Int(held.blobs)) }
        }
    }
}
