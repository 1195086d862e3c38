public import EsperTypes

/// One line of the audit stream: what a command did, for the catalog.
public struct OutboxRecord: Hashable, Sendable {
    /// Position in the stream, the same on every replica: the key by which the catalog is idempotent.
    public struct ID: Hashable, Comparable, Sendable, CustomStringConvertible {
        public var index: LogIndex
        /// Counts the records of one log entry from 0.
        public var ordinal: UInt32

        public init(index: LogIndex, ordinal: UInt32) {
            self.index = index
            self.ordinal = ordinal
        }

        /// Above every record of the entry at `index`.
        public static func all(of index: LogIndex) -> ID { ID(index: index, ordinal: .max) }

        /// Before the first record.
        public static let zero = ID(index: .zero, ordinal: 0)

        public static func < (left: ID, right: ID) -> Bool {
            left.index == right.index ? left.ordinal < right.ordinal : left.index < right.index
        }

        public var description: String { "\(index).\(ordinal)" }
    }

    public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case sessionGranted, sessionRevoked, sessionExpired
        case lockQueued, lockAcquired, lockReleased, lockWaitCancelled
        case electionJoined, electionWon, electionProclaimed, electionResigned
        case keyPut, keyDeleted
        case leadershipStarted, membershipChanged, administration, compacted, settingsChanged
        case joinTokenCreated, joinTokenRevoked, joinTokenUsed
        case cacheBound, cacheEvicted, cacheQuarantined, cacheExpired, cacheTiersNoted

        /// A stable word, for example `lock.acquired`.
        public var name: String {
            switch self {
            case .sessionGranted: "session.granted"
            case .sessionRevoked: "session.revoked"
            case .sessionExpired: "session.expired"
            case .lockQueued: "lock.queued"
            case .lockAcquired: "lock.acquired"
            case .lockReleased: "lock.released"
            case .lockWaitCancelled: "lock.wait_cancelled"
            case .electionJoined: "election.joined"
            case .electionWon: "election.won"
            case .electionProclaimed: "election.proclaimed"
            case .electionResigned: "election.resigned"
            case .keyPut: "key.put"
            case .keyDeleted: "key.deleted"
            case .leadershipStarted: "leadership.started"
            case .membershipChanged: "membership.changed"
            case .administration: "administration"
            case .compacted: "keyspace.compacted"
            case .settingsChanged: "settings.changed"
            case .joinTokenCreated: "join_token.created"
            case .joinTokenRevoked: "join_token.revoked"
            case .joinTokenUsed: "join_token.used"
            case .cacheBound: "cache.bound"
            case .cacheEvicted: "cache.evicted"
            case .cacheQuarantined: "cache.quarantined"
            case .cacheExpired: "cache.expired"
            case .cacheTiersNoted: "cache.tiers_noted"
            }
        }
    }

    /// A named detail.
    public struct Field: Hashable, Sendable {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public var id: ID
    /// The term of the entry.
    public var term: Term
    /// The replicated clock, in nanoseconds since 1970; never runs backwards along the stream.
    public var time: UInt64
    public var kind: Kind
    /// The principal that asked.
    public var actor: String
    /// What it is about: the lock's or election's name, the session, the key (as UTF-8, repaired).
    public var subject: String
    /// The keyspace's revision after the change.
    public var revision: Revision
    /// In a fixed order for each kind.
    public var fields: [Field]

    public init(
        id: ID, term: Term, time: UInt64, kind: Kind, actor: String, subject: String, revision: Revision,
        fields: [Field] = []
    ) {
        self.id = id
        self.term = term
        self.time = time
        self.kind = kind
        self.actor = actor
        self.subject = subject
        self.revision = revision
        self.fields = fields
    }
}

/// What the leader wants recorded: leadership, membership, administration.
public struct OutboxNote: Hashable, Sendable {
    public var kind: OutboxRecord.Kind
    public var subject: String
    public var fields: [OutboxRecord.Field]

    public init(kind: OutboxRecord.Kind, subject: String, fields: [OutboxRecord.Field] = []) {
        self.kind = kind
        self.subject = subject
        self.fields = fields
    }
}

/// Settings that apply depends on, replicated so that all replicas agree.
public struct CoordinationSettings: Hashable, Sendable {
    /// Whether sessions, locks, elections and the rest are recorded at all.
    public var auditsCoordination: Bool
    /// Keyspace writes under these prefixes are recorded.
    public var auditedPrefixes: [[UInt8]]
    /// The most records kept; beyond it audited commands are refused as ``Refusal/outboxFull``, except those that end
    /// something (expiry, release, resignation), of which there are no more than beginnings were admitted.
    public var maximumOutboxRecords: Int

    public init(
        auditsCoordination: Bool = true, auditedPrefixes: [[UInt8]] = [], maximumOutboxRecords: Int = 1 << 20
    ) {
        self.auditsCoordination = auditsCoordination
        self.auditedPrefixes = auditedPrefixes
        self.maximumOutboxRecords = maximumOutboxRecords
    }
}

/// How far the catalog is behind.
public struct OutboxStatus: Hashable, Sendable {
    public var count: Int
    public var bound: Int
    /// The oldest record that waits, and the clock at which it was written.
    public var oldest: OutboxRecord.ID?
    public var oldestTime: UInt64?
    public var newest: OutboxRecord.ID?
    /// The highest position acknowledged so far.
    public var acknowledgedThrough: OutboxRecord.ID
    /// The catalog has been told what names of the cache stand for as of this entry; nil: it is not told of names.
    public var namesSettled: LogIndex?

    public init(
        count: Int, bound: Int, oldest: OutboxRecord.ID?, oldestTime: UInt64?, newest: OutboxRecord.ID?,
        acknowledgedThrough: OutboxRecord.ID, namesSettled: LogIndex? = nil
    ) {
        self.count = count
        self.bound = bound
        self.oldest = oldest
        self.oldestTime = oldestTime
        self.newest = newest
        self.acknowledgedThrough = acknowledgedThrough
        self.namesSettled = namesSettled
    }
}
