public import CacheCore
public import EsperTypes

/// Why the state machine did not do what a command or query asked; it changed nothing.
public enum Refusal: Error, Hashable, Sendable {
    /// The committed entry is not a command this version can read; every replica says so alike.
    case malformed(DecodingError)
    /// The command breaks a limit or a rule that does not depend on the state.
    case invalid(InvalidCommand)
    /// The revision has been compacted away; `at` is the lowest that can be read.
    case compacted(at: Revision)
    /// The revision has not happened yet.
    case futureRevision(current: Revision)
    case keyNotFound
    /// Keys under `_lock/` and `_election/` are claims (``ClaimName``): they change through locks, elections and sessions, or by
    /// writes of one key that make or give up a claim.
    case reservedKey
    case sessionNotFound(SessionID)
    /// Another session has the ID that was chosen.
    case sessionExists(SessionID)
    /// The session is neither holding nor waiting for the lock.
    case lockNotFound
    /// The lock was asked for without waiting and another session has it.
    case lockHeld(by: FencingToken)
    /// The session is not standing in the election.
    case candidateNotFound
    /// The session stands in the election but is not elected.
    case notElected
    /// The leader that proposed the command was deposed before its entry was appended.
    case staleTerm(Term)
    /// The client is not registered, or was forgotten because too many others came after it.
    case clientUnknown(ClientID)
    /// The answer to this request is no longer kept, so whether it was executed is unknown; `through` is the highest such request.
    case requestExpired(through: UInt64)
    /// The audit stream cannot take another record until the catalog takes some.
    case outboxFull
    /// The answer would be larger than an answer may be.
    case replyTooLarge
    /// The address book has its founders already.
    case membersFounded
    case memberNotFound(NodeID)
    /// Another node has the name.
    case memberNameTaken(by: NodeID)
    /// Another node has the peer or API address.
    case memberAddressTaken(by: NodeID)
    case tooManyMembers
    /// There is no such token, or the secret is not its own.
    case joinTokenUnknown
    case joinTokenExpired
    case joinTokenRevoked
    /// As many nodes have joined by it as may.
    case joinTokenUsedUp
    /// The token is for a node of another name.
    case joinTokenOfAnother
    /// Another token has the ID.
    case joinTokenExists
    case tooManyJoinTokens
    /// Permissions are in force (``AuthTable``), and the user has none for this.
    case permissionDenied
    case auth(AuthRefusal)

    /// What a client may conclude. Only the refusals of the request table leave the question open: the request
    /// may have been executed before.
    public var outcome: Outcome {
        switch self {
        case .clientUnknown, .requestExpired: .unknown
        case .malformed, .invalid, .compacted, .futureRevision, .keyNotFound, .reservedKey, .sessionNotFound,
            .sessionExists,
            .lockNotFound, .lockHeld, .candidateNotFound, .notElected, .staleTerm, .outboxFull, .replyTooLarge,
            .membersFounded, .memberNotFound, .memberNameTaken, .memberAddressTaken, .tooManyMembers,
            .joinTokenUnknown, .joinTokenExpired, .joinTokenRevoked, .joinTokenUsedUp, .joinTokenOfAnother,
            .joinTokenExists, .tooManyJoinTokens, .permissionDenied, .auth:
            .notCommitted
        }
    }

    /// Whether the same command, under a new request ID, may succeed later without anyone changing it.
    public var isRetryable: Bool {
        switch self {
        case .outboxFull, .lockHeld, .staleTerm, .tooManyJoinTokens: true
        case .malformed, .invalid, .compacted, .futureRevision, .keyNotFound, .reservedKey, .sessionNotFound,
            .sessionExists,
            .lockNotFound, .candidateNotFound, .notElected, .clientUnknown, .requestExpired, .replyTooLarge,
            .membersFounded, .memberNotFound, .memberNameTaken, .memberAddressTaken, .tooManyMembers,
            .joinTokenUnknown, .joinTokenExpired, .joinTokenRevoked, .joinTokenUsedUp, .joinTokenOfAnother,
            .joinTokenExists, .permissionDenied, .auth:
            false
        }
    }

    /// A stable word for programs.
    public var code: String {
        switch self {
        case .malformed: "malformed"
        case .invalid: "invalid_argument"
        case .compacted: "compacted"
        case .futureRevision: "future_revision"
        case .keyNotFound: "key_not_found"
        case .reservedKey: "reserved_key"
        case .sessionNotFound: "session_not_found"
        case .sessionExists: "session_exists"
        case .lockNotFound: "lock_not_found"
        case .lockHeld: "lock_held"
        case .candidateNotFound: "candidate_not_found"
        case .notElected: "not_elected"
        case .staleTerm: "stale_term"
        case .clientUnknown: "client_unknown"
        case .requestExpired: "request_expired"
        case .outboxFull: "outbox_full"
        case .replyTooLarge: "reply_too_large"
        case .membersFounded: "members_founded"
        case .memberNotFound: "unknown_member"
        case .memberNameTaken: "member_name_taken"
        case .memberAddressTaken: "member_address_taken"
        case .tooManyMembers: "too_many_members"
        case .joinTokenUnknown: "unknown_token"
        case .joinTokenExpired: "token_expired"
        case .joinTokenRevoked: "token_revoked"
        case .joinTokenUsedUp: "token_used"
        case .joinTokenOfAnother: "token_of_another"
        case .joinTokenExists: "token_exists"
        case .tooManyJoinTokens: "too_many_tokens"
        case .permissionDenied: "permission_denied"
        case .auth(let refusal): refusal.code
        }
    }

    /// One line for people.
    public var message: String { message { "node \($0)" } }

    /// One line for people.
    ///
    /// - Parameter name: what to call a member.
    public func message(naming name: (NodeID) -> String) -> String {
        switch self {
        case .malformed(let error): "the entry cannot be read: \(error)"
        case .invalid(let reason): reason.message
        case .compacted(let revision): "required revision has been compacted; the lowest readable is \(revision)"
        case .futureRevision(let current): "required revision is a future revision; the current one is \(current)"
        case .keyNotFound: "the key does not exist"
        case .reservedKey:
            "under _lock/ and _election/ there are claims only: NAME/SESSION, attached to that session, one of a queue at a time"
        case .sessionNotFound(let session): "session \(session) does not exist"
        case .sessionExists(let session): "session \(session) exists already"
        case .lockNotFound: "the session neither holds nor waits for the lock"
        case .lockHeld(let token): "another session holds the lock with token \(token)"
        case .candidateNotFound: "the session does not stand in the election"
        case .notElected: "the session is not elected"
        case .staleTerm(let term): "proposed in an earlier term than \(term)"
        case .clientUnknown(let client): "client \(client) is not registered"
        case .requestExpired(let through): "answers up to request \(through) are no longer kept"
        case .outboxFull: "the audit outbox is full; the catalog has to catch up first"
        case .replyTooLarge: "the answer would be too large"
        case .membersFounded: "the cluster's founders are recorded already"
        case .memberNotFound(let id): "\(name(id)) is no member"
        case .memberNameTaken(let id): "\(name(id)) has this name; remove it first, or choose another name"
        case .memberAddressTaken(let id): "\(name(id)) has this peer or API address"
        case .tooManyMembers: "a cluster has at most \(CoordinationLimits.members) members"
        case .joinTokenUnknown: "there is no such join token"
        case .joinTokenExpired: "the join token has expired"
        case .joinTokenRevoked: "the join token was revoked"
        case .joinTokenUsedUp: "the join token is used up"
        case .joinTokenOfAnother: "the join token is for a node of another name"
        case .joinTokenExists: "another join token has this id"
        case .tooManyJoinTokens:
            "\(CoordinationLimits.joinTokens) join tokens have not expired yet; more are not kept"
        case .permissionDenied: "permission denied"
        case .auth(let refusal): refusal.message
        }
    }
}

/// A limit or rule that a command breaks whatever the state is.
public enum InvalidCommand: Error, Hashable, Sendable {
    case emptyKey
    case keyTooLong(Int)
    case valueTooLong(Int)
    case emptyRange
    case tooManyOperations(Int)
    case tooDeeplyNested
    /// One branch of a transaction puts a key twice, or puts and deletes it.
    case duplicateKey
    case ttlOutOfRange
    /// The chosen ID is 0 or above `Int64.max`.
    case sessionID
    case labelTooLong(Int)
    case nameLength(Int)
    case tooManySessions(Int)
    case tooManyPrefixes(Int)
    case requestSequence
    case negativeLimit
    case settingOutOfRange
    case noteTooLarge
    /// Names of members are unique and have 1 to ``CoordinationLimits/memberNameBytes`` bytes; IDs are unique too.
    case memberName
    case memberAddress
    case memberZone
    case memberCount(Int)
    /// The uses or the time to live of a join token.
    case joinTokenTerms
    case digestLength(Int)
    case passwordHashTooLong(Int)
    /// A transaction with writes was asked as a query.
    case notReadOnly
    case cache(CacheCommandError)

    public var message: String {
        switch self {
        case .emptyKey: "the key is empty"
        case .keyTooLong(let count): "the key has \(count) bytes, more than \(Limits.keyBytes)"
        case .valueTooLong(let count): "the value has \(count) bytes, more than \(Limits.valueBytes)"
        case .emptyRange: "the end of the range is not above its start"
        case .tooManyOperations(let count):
            "the transaction has \(count) compares and operations, more than \(Limits.transactionOperations)"
        case .tooDeeplyNested: "transactions are nested too deeply"
        case .duplicateKey: "the transaction changes one key twice"
        case .ttlOutOfRange: "the time to live is outside 100 ms to 24 h"
        case .sessionID: "a session's id is from 1 to \(Int64.max)"
        case .labelTooLong(let count): "the label has \(count) bytes, more than \(CoordinationLimits.labelBytes)"
        case .nameLength(let count): "a name of \(count) bytes is outside 1 to \(CoordinationLimits.nameBytes)"
        case .tooManySessions(let count): "\(count) sessions are more than \(CoordinationLimits.sessionsPerExpiry)"
        case .tooManyPrefixes(let count):
            "\(count) audited prefixes are more than \(CoordinationLimits.auditedPrefixes)"
        case .requestSequence: "the request's sequence number is not above the acknowledged ones"
        case .negativeLimit: "a limit or count is negative"
        case .settingOutOfRange: "a setting is out of its range"
        case .noteTooLarge: "the note is too large"
        case .memberName: "a member's name has 1 to \(CoordinationLimits.memberNameBytes) bytes and is its own"
        case .memberAddress: "an address is a host of 1 to \(CoordinationLimits.memberHostBytes) bytes and a port"
        case .memberZone: "a zone has at most \(CoordinationLimits.memberNameBytes) bytes"
        case .joinTokenTerms:
            "a join token is for 1 to \(CoordinationLimits.joinTokenUses) nodes and lives 1 s to 7 d"
        case .passwordHashTooLong(let count):
            "a password's hash has \(count) bytes, more than \(CoordinationLimits.passwordHashBytes)"
        case .digestLength(let count): "a digest of \(count) bytes is not one of \(CoordinationLimits.digestBytes)"
        case .memberCount(let count): "\(count) members are outside 1 to \(CoordinationLimits.members)"
        case .notReadOnly: "a transaction with writes is not a query"
        case .cache(let error): error.message
        }
    }
}
