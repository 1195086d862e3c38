public import CacheCore
public import EsperTypes

/// The one answer to a command: whoever asks again under the same request ID gets exactly this.
public struct CommandReply: Hashable, Sendable {
    /// The log index at which the command was first applied.
    public var index: LogIndex
    /// The keyspace's revision after the command.
    public var revision: Revision
    public var result: CommandResult

    public init(index: LogIndex, revision: Revision, result: CommandResult) {
        self.index = index
        self.revision = revision
        self.result = result
    }
}

/// What a command did.
public enum CommandResult: Hashable, Sendable {
    /// The command changed nothing, and why.
    case refused(Refusal)
    case put(PutReply)
    case deleted(DeleteReply)
    case transaction(TransactionReply)
    case compacted(through: Revision)
    case sessionGranted(SessionID, ttl: Duration)
    /// The session is over; so many keys went with it.
    case sessionEnded(SessionID, keys: Int)
    /// How many of the named sessions were still there and ended.
    case sessionsExpired(count: Int)
    /// The place in a lock's queue.
    case lock(LockReply)
    /// The lock's key is gone. `wasHeld` tells a release from leaving the queue.
    case lockReleased(wasHeld: Bool)
    /// The place in an election.
    case election(ElectionReply)
    case proclaimed
    case resigned(wasElected: Bool)
    case clientRegistered(ClientID)
    case outboxAcknowledged(through: OutboxRecord.ID)
    case configured
    case recorded
    case memberAdmitted(NodeID)
    /// On the replicated clock, in nanoseconds since 1970.
    case joinTokenCreated(expires: UInt64)
    case joinTokenRevoked
    /// The node is admitted under this ID.
    case joinTokenRedeemed(NodeID)
    /// Users, roles or permissions are as asked; the revision is theirs.
    case authChanged(revision: UInt64)
    case cache(CacheResult)

    /// The refusal, if it is one.
    public var refusal: Refusal? {
        if case .refused(let refusal) = self { refusal } else { nil }
    }
}
