public import EsperTypes

/// The replicated state machine: keyspace, sessions, locks, elections, request table and outbox behind one log.
///
/// A value. Copying it is O(1): copies share structure and a change copies only the path it touches, so a copy handed
/// to another thread (a snapshot, a long read) stays as it is while apply goes on. What it becomes depends on the
/// entries alone: no clock, no randomness, no identity of the node.
public struct StateMachine: Sendable {
    /// The last entry applied.
    public package(set) var applied = EntryID.zero

    /// The replicated clock in nanoseconds since 1970: the highest stamp applied.
    public package(set) var time: UInt64 = 0

    /// A digest of what was applied since the last epoch began and of what came of it; replicas at the same index must
    /// agree. O(1). See ``comparableChain``.
    public package(set) var applyChain: UInt64 = 0
    /// Part of ``applyChain`` was made by another version of this program, whose rule may differ.
    package var isChainMixed = false

    package var keyspace = Keyspace()
    package var sessions = SessionTable()
    package var claims = ClaimIndex()
    package var requests = RequestTable()
    package var outbox = Outbox()
    package var settings = CoordinationSettings()
    /// Who is a member and where.
    public package(set) var members = MemberTable()
    /// By what new nodes may join.
    public package(set) var joinTokens = JoinTokenTable()
    /// Who may do what.
    public package(set) var auth = AuthTable()
    /// What the names of the cache stand for.
    public package(set) var cache = CacheTable()

    public init() {}

    /// The keyspace's revision; a new cluster starts at 1, as etcd's does.
    public var revision: Revision { keyspace.revision }

    /// The lowest revision that can be read; 0 before the first compaction.
    public var compactedRevision: Revision { keyspace.compacted }

    /// Every session, for ``SessionClock/init(sessions:at:)`` after a restore. In order of ID.
    public var sessionGrants: [SessionGrant] {
        sessions.records.cursor().map { SessionGrant(id: SessionID($0.key), ttl: $0.value.ttl) }
    }

    /// Records above `position`, in order: what the leader hands to the catalog.
    public func outboxRecords(after position: OutboxRecord.ID, limit: Int) -> [OutboxRecord] {
        outbox.records(after: position, limit: limit)
    }
}
