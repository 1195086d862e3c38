public import CacheCore
public import EsperTypes

/// A read of the local replica; how fresh that is, is the caller's concern (ReadIndex).
public enum Query: Hashable, Sendable {
    case range(RangeRequest)
    /// A transaction that changes nothing (``Transaction/isReadOnly``).
    case transaction(Transaction)
    /// Sessions with an ID above `after`, in order.
    case sessions(after: SessionID?, limit: Int)
    case session(SessionID, withKeys: Bool)
    /// Locks whose name starts with `prefix` and is above `after`, in order of their escaped names; each with the
    /// first ``CoordinationLimits/listedClaims`` of its queue.
    case locks(prefix: String, after: String?, limit: Int)
    /// One lock with up to `claims` of its queue.
    case lock(name: String, claims: Int)
    case elections(prefix: String, after: String?, limit: Int)
    case election(name: String, claims: Int)
    case electionLeader(name: String)
    /// Outbox records above `after`, in order.
    case outbox(after: OutboxRecord.ID, limit: Int)
    case outboxStatus
    case settings
    /// The address book of the members.
    case members
    /// The join tokens that are kept, in the order in which they were made.
    case joinTokens
    /// Users, roles and permissions with every secret of theirs: for doors.
    case auth
    case authStatus
    case user(name: String)
    case role(name: String)
    case summary
    /// What a name of the cache stands for now.
    case binding([UInt8])
    /// Live bindings whose full names start with `prefix` and are above `after`, in order.
    case bindings(prefix: [UInt8], after: [UInt8]?, limit: Int)
    case cacheSummary
    /// Where blobs of the cache belong.
    case shardMap
}

/// What a query found.
public enum QueryResult: Hashable, Sendable {
    case refused(Refusal)
    case range(RangeReply)
    case transaction(TransactionReply)
    case sessions([SessionInfo], more: Bool)
    case session(SessionInfo?)
    case locks([LockState], more: Bool)
    case lock(LockState?)
    case elections([LockState], more: Bool)
    case election(LockState?)
    case electionLeader(ElectionLeader?)
    case outbox([OutboxRecord])
    case outboxStatus(OutboxStatus)
    case settings(CoordinationSettings)
    case members(MemberTable)
    case joinTokens(JoinTokenTable)
    case auth(AuthTable)
    case authStatus(AuthStatus)
    case user(AuthUser)
    case role(AuthRole)
    case summary(StateSummary)
    /// Live or quarantined; nil: nothing.
    case binding(Binding?)
    case bindings(CachePage)
    case cacheSummary(CacheSummary)
    /// Nil before there is one.
    case shardMap(ShardMap?)
}

/// A query's result with the position it is true of.
public struct QueryReply: Hashable, Sendable {
    public var revision: Revision
    public var appliedIndex: LogIndex
    public var result: QueryResult

    public init(revision: Revision, appliedIndex: LogIndex, result: QueryResult) {
        self.revision = revision
        self.appliedIndex = appliedIndex
        self.result = result
    }
}

/// Sizes and positions, for status pages and metrics. O(1).
public struct StateSummary: Hashable, Sendable {
    public var applied: EntryID
    public var revision: Revision
    public var compactedRevision: Revision
    /// The replicated clock, in nanoseconds since 1970.
    public var time: UInt64
    public var keys: Int
    /// Bytes of live keys and values.
    public var keyspaceBytes: Int
    /// Revisions that can be watched and read from the past.
    public var historyRevisions: Int
    public var sessions: Int
    public var attachedKeys: Int
    /// Claims over all locks and elections.
    public var claims: Int
    public var clients: Int
    public var outboxRecords: Int

    public init(
        applied: EntryID, revision: Revision, compactedRevision: Revision, time: UInt64, keys: Int,
        keyspaceBytes: Int, historyRevisions: Int, sessions: Int, attachedKeys: Int, claims: Int, clients: Int,
        outboxRecords: Int
    ) {
        self.applied = applied
        self.revision = revision
        self.compactedRevision = compactedRevision
        self.time = time
        self.keys = keys
        self.keyspaceBytes = keyspaceBytes
        self.historyRevisions = historyRevisions
        self.sessions = sessions
        self.attachedKeys = attachedKeys
        self.claims = claims
        self.clients = clients
        self.outboxRecords = outboxRecords
    }
}
