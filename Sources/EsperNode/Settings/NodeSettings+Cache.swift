public import EsperTypes

extension NodeSettings {
    /// The kernel cache of this node.
    public struct Cache: Sendable, Equatable {
        /// Whether there is one.
        public var isEnabled: Bool
        public var memoryBytes: Int
        /// The name of an eviction policy.
        public var policy: String
        /// Of each blob in the cluster.
        public var copies: Int
        /// Where blobs are kept on this node's disk; nil: `cache` in the data directory.
        public var directory: String?
        /// Keeps the payload of cold blobs in the catalog's database, when there is a catalog.
        public var usesCatalog: Bool
        /// `redis://` or `rediss://`; nil: no such tier.
        public var redis: String?
        /// A directory that every node of the cluster sees; nil: no archive, or the one in S3.
        public var archiveDirectory: String?
        /// Unreferenced blobs are kept for this long.
        public var garbageAfter: Duration
        public var warmBytesPerSecond: Int
        /// Where clients of Redis are served; nil: nowhere.
        public var redisDoor: HostPort?
        /// Serves them without TLS beyond loopback.
        public var isRedisDoorInsecure: Bool
    }
}
