public import EsperTypes
public import Logging

/// Everything a node is told when it starts, checked as a whole.
///
/// Made by ``SettingsReader``; a value of this type is known to be consistent.
public struct NodeSettings: Sendable, Equatable {
    /// One member of the cluster as every node's settings list it.
    public struct Member: Sendable, Equatable {
        public var name: String
        public var id: NodeID
        /// Where the member's peers reach it.
        public var peer: HostPort
        /// Where clients reach it.
        public var api: HostPort
        /// The failure domain, for display and placement; empty when the cluster has none.
        public var zone: String
        /// This node joins the cluster of the others: it begins as no member of it, and waits to be sent the log.
        public var joins: Bool
    }

    public struct TLS: Sendable, Equatable {
        /// PEM files: the cluster's authority, this node's certificate chain and its key.
        public var authority: String
        public var certificate: String
        public var privateKey: String
        public var trustDomain: String
        /// PEM file of the key of the authority, for a node that certifies others; nil on all others.
        public var authorityKey: String?
        /// What clients must speak at least; nodes speak 1.3 among themselves.
        public var clientMinimum: Version

        public enum Version: String, Sendable, CaseIterable {
            case tls12 = "1.2"
            case tls13 = "1.3"
        }
    }

    /// The port at which hosts with a join token become nodes.
    public struct EnrollmentPort: Sendable, Equatable {
        public var address: HostPort
    }

    public struct Catalog: Sendable, Equatable {
        /// A libpq connection string or URI; nil runs without a catalog, and says so in `/ready`.
        public var connection: String?
    }

    public struct Log: Sendable, Equatable {
        public enum Format: String, Sendable, CaseIterable { case text, json }
        public var level: Logger.Level
        public var format: Format
    }

    public struct Raft: Sendable, Equatable {
        public var heartbeat: Duration
        public var electionTimeout: Duration
        /// A snapshot is taken when the log has grown by this many bytes since the last one, and by half of its size.
        public var snapshotAfterBytes: Int
        /// The most of a snapshot that a leader sends to one node in a second.
        public var snapshotBytesPerSecond: Int
        /// How long a committed entry serves reads without a round; zero: never.
        public var readLease: Duration
        /// How long leases last by which nodes answer for names of the cache from their own state; zero: there are none.
        public var holderLease: Duration
        public var segmentBytes: Int
        /// How often sealed segments and snapshots are read back and checked.
        public var scrubInterval: Duration
        /// The most that the check reads in a second.
        public var scrubBytesPerSecond: Int
    }

    public struct Outbox: Sendable, Equatable {
        /// Keyspace writes below these prefixes are audited.
        public var auditPrefixes: [String]
        public var maximumRecords: Int
    }

    public var clusterID: ClusterID
    public var name: String
    public var dataDirectory: String
    public var members: [Member]
    public var listenPeer: HostPort
    public var listenAPI: HostPort
    /// A plaintext listener for probes and metrics; loopback only.
    public var listenProbe: HostPort?
    /// Nil: no host joins here.
    public var enrollment: EnrollmentPort?
    /// How long certificates are valid that this node gives out.
    public var certificatePeriod: Duration
    public var tls: TLS
    public var catalog: Catalog
    public var log: Log
    public var raft: Raft
    public var outbox: Outbox
    /// Revisions that stay readable at least; older ones are compacted. 0 keeps everything.
    public var historyRevisions: Int
    /// How long a stop may take before connections are cut.
    public var shutdownTimeout: Duration
    public var cache: Cache
    /// Serves the fault-injection calls of `esper dev`; never set on a production cluster.
    public var development: Bool
    /// A fault on purpose, in development only: after this entry the state is another than the other nodes'.
    public var divergesAt: LogIndex?

    /// The member that this node is.
    public var member: Member {
        guard let member = members.first(where: { $0.name == name }) else {
            preconditionFailure("settings were not validated: \(name) is not among the members")
        }
        return member
    }
}
