public import CacheCore
public import EsperTypes

/// Everything that can be asked of the replicated state machine through the log.
///
/// What a command does depends on the state before it and on its own entry (index, term, envelope), and on nothing
/// else. Limits are checked by ``validate()`` before proposing and again when applied.
public enum Command: Hashable, Sendable {
    // Keyspace
    case put(Put)
    case delete(Delete)
    case transaction(Transaction)
    /// Forgets history: afterwards reads and watches at revisions below `through` are refused.
    case compact(through: Revision)

    // Sessions
    /// Opens a session. Without an ID it gets the log index of this entry, or, when a session that chose its ID has that one,
    /// another that is free. A chosen one, from 1 to `Int64.max`, is refused as ``Refusal/sessionExists(_:)`` while
    /// another session has it. The label is for people and has no effect.
    case grantSession(id: SessionID? = nil, ttl: Duration, label: String = "")
    /// Ends a session at its owner's wish and deletes every key attached to it in one revision.
    case revokeSession(SessionID)
    /// Ends sessions whose time is up. Proposed by the leader of `term` alone, and refused as ``Refusal/staleTerm`` when the
    /// entry was appended in another term: then a new leader has given every session a full TTL meanwhile. Those that began
    /// after entry `knownThrough` are spared: they only have the ID of one whose time was up.
    case expireSessions([SessionID], term: Term, knownThrough: LogIndex? = nil)

    // Locks
    /// Queues `session` for a lock, first come first served. Repeating it answers the same token.
    case acquireLock(LockRequest)
    /// Gives a lock up, or leaves its queue.
    case releaseLock(name: String, session: SessionID)
    /// A wait ended (deadline, disconnect): leaves the queue. A lock that was granted meanwhile stays held, and the answer is
    /// that of ``acquireLock``.
    case cancelLockWait(name: String, session: SessionID)

    // Elections
    /// Stands for election with a value; first come, first elected. Repeating it answers the same token and updates the value.
    case campaign(election: String, session: SessionID, value: [UInt8])
    /// Changes the value of the elected session; refused unless `session` is elected.
    case proclaim(election: String, session: SessionID, value: [UInt8])
    /// Gives the election up, or stops standing.
    case resign(election: String, session: SessionID)
    /// Stops standing for election; a session that is elected by then stays so, and the answer is that of ``campaign``.
    case cancelCandidacy(election: String, session: SessionID)

    // Exactly-once requests
    /// Registers a client; its ID is the log index of this entry.
    case registerClient

    // Members
    /// The first records of the address book; refused as ``Refusal/membersFounded`` when there are any.
    case foundMembers([MemberRecord])
    /// Gives a node that is to join its ID. One that was admitted and never joined is answered again with the same.
    case admitMember(NewMember)
    /// Sets what is learnt of a member once: that a configuration holds it, and the first life of its disk that was seen.
    case noteMember(NodeID, isEnrolled: Bool, incarnation: Incarnation?)
    /// Takes a node out of the address book; its ID is never given again.
    case forgetMember(NodeID)

    // Join tokens
    /// Makes a token by which nodes may join. One with the same ID and secret is answered again with the same.
    case createJoinToken(NewJoinToken)
    /// Ends a token; nodes that have joined by it stay.
    case revokeJoinToken(JoinTokenID)
    /// Lets a node in by a token: counts the use and gives the node its ID, or neither. The same node, by name and key, is
    /// answered again with the same ID and without another use.
    case redeemJoinToken(JoinTokenRedemption)

    // Permissions
    case auth(AuthCommand)

    // Cache
    case cache(CacheCommand)

    // Outbox
    /// Forgets outbox records up to and with `through`. Idempotent.
    case acknowledgeOutbox(through: OutboxRecord.ID)
    /// Replaces the settings that apply depends on.
    case configure(CoordinationSettings)
    /// Puts records of a node (leadership, membership, administration) in the outbox, all or none. Refused as
    /// ``Refusal/staleTerm`` when `term` is given and the entry was appended in another.
    case record([OutboxNote], term: Term?)

    /// Writes one key.
    public struct Put: Hashable, Sendable {
        public var key: [UInt8]
        public var value: [UInt8]
        /// The session whose end deletes the key; `nil` detaches the key from any.
        public var session: SessionID?
        /// Answer with what was replaced.
        public var returnsPrevious: Bool
        /// Keep the value the key has; refused when the key does not exist.
        public var keepsValue: Bool
        /// Keep the session the key has; refused when the key does not exist.
        public var keepsSession: Bool

        public init(
            key: [UInt8], value: [UInt8], session: SessionID? = nil, returnsPrevious: Bool = false,
            keepsValue: Bool = false, keepsSession: Bool = false
        ) {
            self.key = key
            self.value = value
            self.session = session
            self.returnsPrevious = returnsPrevious
            self.keepsValue = keepsValue
            self.keepsSession = keepsSession
        }
    }

    /// Deletes the keys of a range.
    public struct Delete: Hashable, Sendable {
        public var range: KeyRange
        /// Answer with what was deleted.
        public var returnsPrevious: Bool

        public init(_ range: KeyRange, returnsPrevious: Bool = false) {
            self.range = range
            self.returnsPrevious = returnsPrevious
        }
    }
}
