import Coordination
import EsperTypes

/// Who waits for an answer.
struct Caller {
    var sink: any ReplySink
    var token: UInt64
    var deadline: Instant
    var principal: String
}

/// A command on its way to the log, kept until it is applied, refused or given up.
///
/// The rule that makes retries safe without the client: a command sent to the leader of term T, our own log or a
/// peer's, can only be appended in term T. Entries are applied in order, so once an entry of a later term was applied
/// here and the command was not, it never will be, and it may be sent again. The same holds within a term, see
/// ``NodeCore/sendEpoch``.
struct PendingProposal {
    enum State: Equatable {
        /// In no log: never sent, or certainly lost.
        case waiting
        /// Handed to the leader of this term, in this epoch of ``NodeCore/sendEpoch``; whether it is in the log is not
        /// known.
        case sent(Term, epoch: UInt64)
    }

    /// Nil for the node's own commands, which nobody waits for, and for what is abandoned.
    var caller: Caller?
    var state: State
    /// Encoded with this node as the origin; the leader's time is stamped into it when it is appended.
    var envelope: [UInt8]
    /// Set for lock acquisitions and campaigns: answered when granted, not when queued.
    var claim: ClaimKey?
    /// With ``claim``: when the wait ends.
    var waitsUntil = Instant.distantFuture
    /// Set for the command that takes a claim out of its queue.
    var withdraws: ClaimKey?
    /// The caller has gone, or was told that what becomes of it is unknown: it is not sent again.
    var isAbandoned = false
    /// Once applied, what was sent to its leader in earlier epochs and was not is known to be lost.
    var isBarrier = false
    /// Set for admissions: the change of members that waits for the new node's ID.
    var membership: UInt64?
    /// Set for the leader's own expiry of sessions, which is never passed to another leader: one that is not appended
    /// is forgotten, and the sessions are due again.
    var expiring: [SessionID] = []

    /// What the node itself has to say and nobody would say in its place: that a claim is given up, say, or a record for the
    /// audit trail.
    var isOwn: Bool { caller == nil && !isAbandoned && !isBarrier && membership == nil }
}

/// A session's place in the queue of a lock or an election.
struct ClaimKey: Hashable {
    var kind: Grant.Kind
    var name: String
    var session: SessionID

    init(kind: Grant.Kind, name: String, session: SessionID) {
        self.kind = kind
        self.name = name
        self.session = session
    }

    /// The claim that a command makes, if it makes one.
    init?(_ command: Command) {
        switch command {
        case .acquireLock(let request): self.init(kind: .lock, name: request.name, session: request.session)
        case .campaign(let election, let session, _): self.init(kind: .election, name: election, session: session)
        default: return nil
        }
    }

    /// The command that gives the claim up.
    var withdrawal: Command {
        switch kind {
        case .lock: .cancelLockWait(name: name, session: session)
        case .election: .cancelCandidacy(election: name, session: session)
        }
    }

    var queue: ClaimIndex.Queue { ClaimIndex.queue(kind, name) }
}

/// A granted-later claim: its queue entry is committed, the caller waits for its turn.
struct PendingClaim {
    var caller: Caller
    var reply: CommandReply
    /// The command that made it, should it have to be made again.
    var proposal: PendingProposal
    /// The wait is over and the claim is on its way out of the queue.
    var isLeaving = false
}

/// Something that needs a confirmed read index before it can be answered.
struct PendingRead {
    enum Purpose {
        case query(Query, Caller)
        /// Its freshness is settled; it takes long, and waits for a thread or is read by one.
        case longQuery(Query, Caller)
        case keepAlive(SessionID, Caller)
        /// A keep-alive that a peer passed on.
        case peerKeepAlive(SessionID, from: NodeID, token: UInt64)
        case timeToLive(SessionID, withKeys: Bool, Caller)
        case peerTimeToLive(SessionID, from: NodeID, token: UInt64)
        /// The leader has told the time; the keys are this node's to tell.
        case attachedKeys(SessionTimeToLive, Caller)
        case stateCopy(Caller)
    }

    var purpose: Purpose
    var deadline: Instant
}

/// A question that only the leader, or one certain member, can answer, asked on behalf of a caller; all of them can safely be
/// asked twice.
struct PendingQuestion {
    var question: PeerQuestion
    var caller: Caller
    /// Whom to ask; nil: whoever leads.
    var addressee: NodeID?
    /// Whether anybody was asked so far.
    var wasAsked = false
    /// The peer that was asked; nil while no leader is known.
    var asked: NodeID?
    /// The term in which it was asked last; in which it came, before that.
    var since: Term
}

/// Somebody who waits for a hand-over of leadership that was begun in term `since`.
struct PendingTransfer {
    enum Asker {
        case caller(Caller)
        /// A node that asks for one of its callers.
        case peer(NodeID, token: UInt64)
    }

    var asker: Asker
    var target: NodeID?
    var since: Term
    /// Of a node that is drained: it goes on trying until somebody can take over, or the asker's time is over.
    var isDrain = false
}
