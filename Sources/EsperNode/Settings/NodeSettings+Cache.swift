public import EsperTypes
public import ObjectStore

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
        /// Blobs unused for so long leave the catalog for the archive, when there is one.
        public var demoteAfter: Duration
        public var demoteBytesPerSecond: Int
        /// `redis://` or `rediss://`; nil: no such tier.
        public var redis: String?
        /// Where blobs are kept for good; nil: nowhere.
        public var archive: Archive?
        /// Unreferenced blobs are kept for this long.
        public var garbageAfter: Duration
        /// Of all copies, how much is hashed again in a day.
        public var scrubPercent: Int
        /// How often a node compares its shards by itself; zero: never.
        public var syncInterval: Duration
        public var warmBytesPerSecond: Int
        /// Where what is asked of the cache is written down; nil: nowhere.
        public var trace: String?
        /// Of so many keys one is written down.
        public var traceSampling: Int
        /// Of this node's share of the shards, relative to the others'.
        public var weight: Int
        /// Bytes a second that moves of shards may bring to this node; nil: as the cluster's throttle says.
        public var moveBytesPerSecond: Int?
        /// How long a planned stop waits for this node's shards to move to others.
        public var drainTime: Duration
        /// Where clients of Redis are served; nil: nowhere.
        public var redisDoor: RedisDoor?
    }

    /// A port for clients of Redis.
    public struct RedisDoor: Sendable, Equatable {
        public var address: HostPort
        /// A file that says who may use it; nil: whoever can connect.
        public var usersFile: String?
        /// Nil: plain text.
        public var tls: TLS?
        /// Bytes of long values that are on their way in or out at once.
        public var valueBytes: Int
        /// How long a request may take.
        public var answerWithin: Duration

        public struct TLS: Sendable, Equatable {
            /// PEM files of what is shown to clients; nil: this node's.
            public var shown: Shown?
            /// Only clients with a certificate of the cluster's authority come in.
            public var requiresCertificates: Bool
        }

        public struct Shown: Sendable, Equatable {
            public var certificate: String
            public var privateKey: String
        }
    }

    /// The archive of the kernel cache, the same for every node of a cluster.
    public enum Archive: Sendable, Equatable {
        /// One that every node sees.
        case directory(String)
        case s3(S3)
    }

    /// A bucket, and where the secrets are that open it.
    public struct S3: Sendable, Equatable {
        public var endpoint: S3Endpoint
        public var bucket: String
        public var region: String
        /// Objects stand below it; nil: at the top of the bucket.
        public var prefix: ObjectKey?
        public var accessKey: String
        public var secretKeyFile: String
        /// Of temporary credentials.
        public var sessionTokenFile: String?
        /// PEM; nil: what the system trusts.
        public var authorityFile: String?
        public var isPathStyle: Bool
        /// Allows plaintext beyond loopback.
        public var isInsecure: Bool

        public init(
            endpoint: S3Endpoint, bucket: String, region: String, prefix: ObjectKey? = nil, accessKey: String,
            secretKeyFile: String, sessionTokenFile: String? = nil, authorityFile: String? = nil,
            isPathStyle: Bool = true, isInsecure: Bool = false
        ) {
            self.endpoint = endpoint
            self.bucket = bucket
            self.region = region
            self.prefix = prefix
            self.accessKey = accessKey
            self.secretKeyFile = secretKeyFile
            self.sessionTokenFile = sessionTokenFile
            self.authorityFile = authorityFile
            self.isPathStyle = isPathStyle
            self.isInsecure = isInsecure
        }
    }
}
