public import EsperTypes

/// What the driver must do, in the order given.
///
/// `persist` is a hand-over: the driver goes on with the next effect at once and reports `persisted` later. Only a
/// `send` that names a sequence waits.
public enum Effect: Hashable, Sendable {
    /// Hand the batch to the log.
    case persist(WriteBatch)
    /// Send a message: at once when `after` is nil, else when all writes up to `after` are durable. Messages may be
    /// dropped; the protocol repeats what matters.
    case send(Message, to: NodeID, after: WriteSequence?)
    /// Apply these to the state machine: committed, locally durable, each index once, in order, without gaps.
    case apply([Entry])
    /// The proposals stand in this leader's log at consecutive indexes from `first`. They are not committed yet, and
    /// may never be: only `apply` says so.
    case proposalsAppended([UInt64], first: EntryID)
    /// The proposals were not appended and never will be.
    case proposalsRefused([UInt64], RefusalReason)
    /// These reads may be served from the state machine once it has applied through `index`. Comes after the
    /// `apply` that reaches `index`, so a driver that applies in place serves at once.
    case readReady([UInt64], index: LogIndex)
    case readRefused([UInt64], RefusalReason)
    case roleChanged(RoleChange)
    /// The transfer asked for will not happen; proposals are admitted again.
    case transferFailed(to: NodeID?, TransferFailure)
    /// Read a part of a snapshot for a follower; answered with `snapshotChunkRead` or `snapshotReadFailed`. The file
    /// must not be removed while transfers name it (``RaftStatus/snapshotsInUse``).
    case readSnapshotChunk(to: NodeID, SnapshotDescriptor, offset: UInt64, maximumBytes: Int)
    /// Write a part of a snapshot that the leader sends; offset 0 starts over. After the last part verify the checksum,
    /// sync, put in place, then report `snapshotInstalled`.
    case writeSnapshotChunk(SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool)
    /// Replace the state machine by the snapshot, before any later `apply`; then report `applied`.
    case restoreStateMachine(SnapshotDescriptor)
    /// Let go of these, which the log does not hold any more: on another thread, when there are many.
    case discard([[Entry]])
    /// What became of a request to change the configuration: `refused`, or `accepted` and later `done` or `unknown`.
    case configurationChange(token: UInt64, ConfigurationOutcome)
    /// Another configuration is in force, appended at this index.
    case configurationChanged(Configuration, at: LogIndex)
}

public enum Role: UInt8, Hashable, Sendable, CaseIterable {
    case follower
    /// Asks whether an election could be won; nothing has changed yet.
    case preCandidate
    case candidate
    case leader
}

/// A change of role, term or known leader.
public struct RoleChange: Hashable, Sendable {
    public enum Reason: String, Hashable, Sendable, CaseIterable {
        /// The leader fell silent.
        case timeout
        /// The leader's link was closed.
        case linkClosed
        /// The leader asked this node to take over.
        case transfer
        /// A pre-vote quorum agreed to an election.
        case preVoteWon
        case electionWon
        case electionLost
        /// A peer showed a newer term.
        case newerTerm
        /// A leader made itself known.
        case leaderFound
        /// The leader has not heard a quorum for an election timeout.
        case quorumLost
        /// The committed configuration no longer lets this leader vote.
        case notVoter
    }

    public var role: Role
    public var term: Term
    public var leader: NodeID?
    public var reason: Reason

    public init(role: Role, term: Term, leader: NodeID?, reason: Reason) {
        self.role = role
        self.term = term
        self.leader = leader
        self.reason = reason
    }
}

/// Why a proposal or read was refused. Nothing refused was appended: the outcome is "not committed".
public enum RefusalReason: Hashable, Sendable {
    /// Ask this node instead, when it is known.
    case notLeader(hint: NodeID?)
    /// A bound on uncommitted work or waiting reads is reached.
    case overloaded
    /// Leadership is being handed over.
    case transferring
    /// The leader's disk hangs.
    case storageStalled
    /// The leader's links to a quorum are down.
    case quorumUnreachable
    /// The leader's disk is full.
    case storageFull
    /// The driver paused admission.
    case paused
    /// Leadership ended before the read was confirmed.
    case leadershipLost
    /// No answer from the leader within the time.
    case unconfirmed
    /// A payload is larger than an entry may be.
    case oversized
}

public enum TransferFailure: String, Hashable, Sendable, CaseIterable {
    case notLeader
    /// The target is not a voter that stays, other than the leader, or no voter is fit to take over.
    case noTarget
    /// Another transfer is under way.
    case busy
    /// The target did not take over within an election timeout.
    case timedOut
}
