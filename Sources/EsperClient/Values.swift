public import EsperTypes

internal import EsperProtocol

/// Where a command stands in the cluster's one order.
public struct Commit: Hashable, Sendable {
    /// The keyspace revision after the command.
    public let revision: UInt64
    /// The log index of the command.
    public let logIndex: UInt64
    public let term: UInt64
    /// `committed` in every answer: what was not is an error.
    public var outcome: Outcome { .committed }
}

/// A key and its value, with the revisions that made it.
public struct KeyValue: Hashable, Sendable {
    public let key: [UInt8]
    public let value: [UInt8]
    public let createRevision: UInt64
    public let modRevision: UInt64
    /// 1 when created, one more with each put.
    public let version: UInt64
    /// The session whose end removes the key.
    public let session: SessionID?
}

/// Some keys of the keyspace, in byte order.
public enum KeyRange: Hashable, Sendable {
    case key([UInt8])
    /// Every key that begins so; empty: all.
    case prefix([UInt8])
    /// From a key on, up to and without another; nil: to the end.
    case interval(from: [UInt8], to: [UInt8]?)
}

/// What a range held.
public struct RangeAnswer: Hashable, Sendable {
    /// The revision that was read.
    public let revision: UInt64
    public let pairs: [KeyValue]
    /// Pairs in the range, beyond the limit too.
    public let count: UInt64
    /// A limit cut the list.
    public let more: Bool
}

/// A condition of a transaction.
public struct Comparison: Hashable, Sendable {
    public enum Relation: Hashable, Sendable { case equal, notEqual, less, greater }
    public enum Operand: Hashable, Sendable {
        /// 0 when the key does not exist.
        case version(UInt64)
        case createRevision(UInt64)
        case modRevision(UInt64)
        case session(SessionID)
        case value([UInt8])
    }

    public var key: [UInt8]
    public var relation: Relation
    public var operand: Operand

    public init(_ key: [UInt8], _ relation: Relation, _ operand: Operand) {
        self.key = key
        self.relation = relation
        self.operand = operand
    }
}

/// One step of a transaction.
public enum TransactionStep: Hashable, Sendable {
    case put([UInt8], [UInt8], session: SessionID? = nil)
    case delete(KeyRange)
    case range(KeyRange, limit: UInt32 = 0)
}

/// What a transaction did.
public struct TransactionAnswer: Hashable, Sendable {
    public enum Result: Hashable, Sendable {
        case put
        case deleted(UInt64)
        case range([KeyValue], count: UInt64, more: Bool)
    }

    public let commit: Commit
    /// Whether the conditions held, so which of the two lists ran.
    public let succeeded: Bool
    public let results: [Result]
}

/// A session as the cluster knows it.
public struct SessionInfo: Hashable, Sendable {
    public let id: SessionID
    public let ttl: Duration
    public let label: String
    public let principal: String
    /// Keys attached to it.
    public let keys: UInt64
}

/// The answer to asking for a lock.
public struct LockGrant: Hashable, Sendable {
    public let commit: Commit
    public let name: String
    public let session: SessionID
    /// What to show to the guarded resource; nil when the lock was held by others all the time.
    public let token: FencingToken?
    /// Who holds it when we do not.
    public let holder: SessionID
}

/// A lock that is held.
public struct LockInfo: Hashable, Sendable {
    public let name: String
    public let holder: SessionID
    public let token: FencingToken
    /// Who waits for it, in order.
    public let waiting: [SessionID]
}

/// Who leads an election.
public struct Leadership: Hashable, Sendable {
    public let name: String
    public let session: SessionID
    /// Grows with every new leader.
    public let token: FencingToken
    public let value: [UInt8]
    public let modRevision: UInt64
}

/// The answer to a campaign.
public struct CampaignAnswer: Hashable, Sendable {
    public let commit: Commit
    public let elected: Bool
    /// Ours, or, when not elected, the leader's.
    public let leadership: Leadership?
}

/// One change of the keyspace.
public struct WatchEvent: Hashable, Sendable {
    public let isDelete: Bool
    /// For a deletion: the key, and the revision of the deletion as `modRevision`.
    public let pair: KeyValue
    public let previous: KeyValue?
}

/// Changes of one or more whole revisions.
public struct WatchBatch: Hashable, Sendable {
    /// Everything up to here has been reported.
    public let revision: UInt64
    /// Empty: progress.
    public let events: [WatchEvent]
}

/// What one node knows of the cluster.
public struct ClusterView: Hashable, Sendable {
    public struct Member: Hashable, Sendable {
        public let name: String
        public let id: String
        /// `leader`, `follower`, `candidate` or `learner`; empty when the answering node does not know.
        public let role: String
        public let isVoter: Bool
        public let isReachable: Bool
        public let appliedIndex: UInt64
        public let matchIndex: UInt64
        public let version: String
        public let address: String
        public let zone: String
        public let endpoint: String
    }

    public let clusterID: String
    /// Empty when the node knows none.
    public let leader: String
    public let leaderEndpoint: String
    public let term: UInt64
    public let commitIndex: UInt64
    public let appliedIndex: UInt64
    public let revision: UInt64
    public let members: [Member]
    public let answeredBy: String
    public let outboxPending: UInt64
    /// `ok`, `degraded` or `disabled`.
    public let catalog: String
    /// The configuration in force while a change of members is not finished; empty: none is under way.
    public let pendingChange: String
    /// Where hosts with a join token are let in by the node that answers; empty: not there.
    public let enrollAddress: String
    /// SHA-256 of the certificate of the authority that signs there, in hexadecimal.
    public let authorityFingerprint: String
}

/// A change of members that is committed.
public struct MembershipChange: Hashable, Sendable {
    /// Where the log has the configuration with it.
    public let logIndex: UInt64
    /// The IDs of the members that it was about, in the order in which they were named.
    public let ids: [String]
}
