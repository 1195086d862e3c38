public import CacheCore

/// What this node's cache has done since it started and how it stands: counts only grow, sizes are as of now.
public struct CacheStatistics: Sendable {
    public struct Reads: Sendable {
        public var count: UInt64 = 0
        public var bytes: UInt64 = 0
        /// What making them again would have taken.
        public var costMilliseconds: UInt64 = 0

        public init() {}
    }

    public struct Memory: Sendable {
        public var policy = ""
        public var entries = 0
        public var bytes: UInt64 = 0
        public var limitBytes: UInt64 = 0
        public var evictions: UInt64 = 0
        public var ghostHits: UInt64 = 0
        /// What other policies would have done with a sample of the reads: by name, hits and misses.
        public var shadows: [(policy: String, hits: UInt64, misses: UInt64)] = []

        public init() {}
    }

    /// A tier beyond this node's memory.
    public struct Tier: Sendable {
        public var tier: CacheTier
        /// `closed` (it is used), `open` (it is left alone after failures) or `half_open` (one call tries whether it is back).
        public var breaker: String
        /// Calls that failed, those included that were refused while the breaker was not closed.
        public var failures: UInt64 = 0
        /// Blobs from it that did not hash to their name.
        public var corrupt: UInt64 = 0
        /// Why it fails; empty while the breaker is closed.
        public var reason = ""
        /// Blobs asked for and found, with their bytes; and not found.
        public var hits: UInt64 = 0
        public var hitBytes: UInt64 = 0
        public var misses: UInt64 = 0
        /// Blobs given to it.
        public var writes: UInt64 = 0
        public var writtenBytes: UInt64 = 0

        public init(tier: CacheTier, breaker: String) {
            self.tier = tier
            self.breaker = breaker
        }
    }

    public struct Peer: Sendable {
        public var name: String
        public var isConnected: Bool
        /// A ``CircuitBreaker/State``'s name.
        public var breaker: String
        public var fetchedBlobs: UInt64 = 0
        public var fetchedBytes: UInt64 = 0
        public var pushedBlobs: UInt64 = 0
        public var pushedBytes: UInt64 = 0
        public var failures: UInt64 = 0
        /// Blobs that it sent and that were not those of their digests.
        public var corrupt: UInt64 = 0
        /// The last exchange, in microseconds.
        public var microseconds: UInt64 = 0

        public init(name: String, isConnected: Bool, breaker: String) {
            self.name = name
            self.isConnected = isConnected
            self.breaker = breaker
        }
    }

    public var node = ""
    /// Names by what was found: in which tier, or (`absent`) nothing.
    public var hits: [CacheTier: Reads] = [:]
    public var absent: UInt64 = 0
    /// Reads that had something to find and found it nowhere.
    public var lost: UInt64 = 0
    /// Of those, the ones that a tier may have which does not answer: their names stay as they are.
    public var unreached: UInt64 = 0
    /// Reads that waited for another one's load; part of `hits` too.
    public var coalesced: UInt64 = 0
    /// Hits answered by ``ArtifactCache/hit(_:)``; part of `hits` too.
    public var localHits: UInt64 = 0
    /// Reads that this node had to ask another for, its lease being over or the name on its way.
    public var leaseRefusals: UInt64 = 0
    public var stores: UInt64 = 0
    /// Stores of an action that somebody else had stored with another content.
    public var storesLost: UInt64 = 0
    public var evictions: UInt64 = 0
    /// Stores refused since a blob was not held as the mode asks.
    public var closureFailures: UInt64 = 0
    public var quarantined: UInt64 = 0
    public var memory = Memory()
    public var tiers: [Tier] = []
    public var peers: [Peer] = []
    /// Loads going on, and those who wait for them.
    public var loads = 0
    public var waiters = 0
    /// Compile tokens given out here: held now, ever granted, run out.
    public var tokens = 0
    public var tokensGranted: UInt64 = 0
    public var tokensExpired: UInt64 = 0
    /// Blobs and bytes in this node's directory.
    public var diskBlobs: UInt64 = 0
    public var diskBytes: UInt64 = 0
    /// Of the map of shards; 0: there is none yet.
    public var mapEpoch: UInt64 = 0
    public var shardsOwned = 0
    public var staleEpochRefusals: UInt64 = 0
    public var garbageBlobs: UInt64 = 0
    public var garbageBytes: UInt64 = 0
    public var warmedBytes: UInt64 = 0
    public var warmedHits: UInt64 = 0
    public var syncDifferences: UInt64 = 0

    public init() {}
}
