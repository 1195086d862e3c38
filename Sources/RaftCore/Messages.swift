public import EsperTypes

/// Everything two nodes say to each other about consensus; one struct for each, so that no field changes its meaning.
///
/// The network may drop, duplicate, delay and reorder messages. What arrives was checked by the decoder for shape
/// only: RaftNode treats the content as untrusted, and never traps on it.
public enum Message: Hashable, Sendable {
    case preVoteRequest(PreVoteRequest)
    case preVoteResponse(PreVoteResponse)
    case requestVote(RequestVote)
    case requestVoteResponse(RequestVoteResponse)
    case appendEntries(AppendEntries)
    case appendEntriesResponse(AppendEntriesResponse)
    indirect case installSnapshot(InstallSnapshot)
    case installSnapshotResponse(InstallSnapshotResponse)
    case timeoutNow(TimeoutNow)
    case readIndexRequest(ReadIndexRequest)
    case readIndexResponse(ReadIndexResponse)
}

/// "Would you vote for me?" Asked before a term is spent, so that a node cut off does not disturb the others
/// (dissertation §9.6). Answering changes no state.
public struct PreVoteRequest: Hashable, Sendable {
    /// The term the sender would campaign in: one above its own.
    public var term: Term
    /// The end of the sender's log.
    public var last: EntryID
    /// Numbers the sender's attempts, so that late answers do not count for a later one.
    public var round: UInt64

    public init(term: Term, last: EntryID, round: UInt64) {
        self.term = term
        self.last = last
        self.round = round
    }
}

public struct PreVoteResponse: Hashable, Sendable {
    /// The responder's own term. A refused sender that is behind adopts it.
    public var term: Term
    public var isGranted: Bool
    /// Echoed.
    public var round: UInt64

    public init(term: Term, isGranted: Bool, round: UInt64) {
        self.term = term
        self.isGranted = isGranted
        self.round = round
    }
}

/// Asks for the one vote of a term (§5.2). Leaves only after the sender's own term, vote and log are durable.
public struct RequestVote: Hashable, Sendable {
    public var term: Term
    public var last: EntryID
    /// The leader itself asked the sender to take over: the receiver does not defend the leader (dissertation §3.10).
    public var isTransfer: Bool

    public init(term: Term, last: EntryID, isTransfer: Bool) {
        self.term = term
        self.last = last
        self.isTransfer = isTransfer
    }
}

/// Leaves only after the vote is durable.
public struct RequestVoteResponse: Hashable, Sendable {
    public var term: Term
    public var isGranted: Bool
    /// The ``AppendEntriesResponse/holderWait`` that leaders were told: the candidate, when it leads, waits as long; in whole milliseconds.
    public var holderWait: Duration

    public init(term: Term, isGranted: Bool, holderWait: Duration = .zero) {
        self.term = term
        self.isGranted = isGranted
        self.holderWait = holderWait
    }
}

/// Entries for a follower; without entries, a heartbeat, a commit notice or a read round (§5.3).
public struct AppendEntries: Hashable, Sendable {
    public var term: Term
    /// Names the replication session; the answer echoes it.
    public var session: SessionNonce
    /// The newest ReadIndex round of the leader; the answer echoes it at once, ahead of the disk.
    public var readSequence: ReadSequence
    /// The entry right before `entries`. Without entries it is one the follower is known to have, so that a
    /// heartbeat never conflicts.
    public var previous: EntryID
    /// How far the leader has committed; may lie beyond `entries`.
    public var commit: LogIndex
    public var entries: [Entry]
    public var grant: LeaseGrant?

    public init(
        term: Term, session: SessionNonce, readSequence: ReadSequence, previous: EntryID, commit: LogIndex,
        entries: [Entry] = [], grant: LeaseGrant? = nil
    ) {
        self.term = term
        self.session = session
        self.readSequence = readSequence
        self.previous = previous
        self.commit = commit
        self.entries = entries
        self.grant = grant
    }
}

/// One answer for all appends of a follower's turn.
public struct AppendEntriesResponse: Hashable, Sendable {
    public enum Outcome: Hashable, Sendable {
        /// The follower's log equals the leader's up to `durable` on disk and up to `received` in memory.
        case matched(durable: LogIndex, received: LogIndex)
        /// The follower does not have `previous`. It agrees at most up to `hint.index`, where its own log has `hint.term`.
        case conflict(previous: EntryID, hint: EntryID)
        /// The leader's term is over; `term` is the newer one.
        case staleTerm
    }

    public var term: Term
    public var session: SessionNonce
    public var readSequence: ReadSequence
    /// How long the follower, leading next, would wait for reads that are served by the strength of this leader's entries; in
    /// whole milliseconds.
    public var leaseWait: Duration
    /// How long whoever is elected with its vote will wait for holders of leases that this leader grants; in whole milliseconds.
    public var holderWait: Duration
    /// Asks for a lease: names the request; 0 asks for none.
    public var leaseRequest: UInt64
    public var outcome: Outcome

    public init(
        term: Term, session: SessionNonce, readSequence: ReadSequence, leaseWait: Duration = .zero,
        holderWait: Duration = .zero, leaseRequest: UInt64 = 0, outcome: Outcome
    ) {
        self.term = term
        self.session = session
        self.readSequence = readSequence
        self.leaseWait = leaseWait
        self.holderWait = holderWait
        self.leaseRequest = leaseRequest
        self.outcome = outcome
    }
}

/// One chunk of a snapshot, for a follower whose next entry the leader no longer has (§7). Travels on the bulk link.
public struct InstallSnapshot: Hashable, Sendable {
    public var term: Term
    public var session: SessionNonce
    public var descriptor: SnapshotDescriptor
    public var offset: UInt64
    public var bytes: [UInt8]
    public var isLast: Bool

    public init(
        term: Term, session: SessionNonce, descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool
    ) {
        self.term = term
        self.session = session
        self.descriptor = descriptor
        self.offset = offset
        self.bytes = bytes
        self.isLast = isLast
    }
}

public struct InstallSnapshotResponse: Hashable, Sendable {
    public enum Outcome: Hashable, Sendable {
        /// Everything before `nextOffset` of the snapshot that ends at `id` is written.
        case received(id: EntryID, nextOffset: UInt64)
        /// The follower's log, with snapshot, equals the leader's up to here, durably.
        case installed(through: LogIndex)
        /// The sender's term is over.
        case staleTerm
    }

    public var term: Term
    public var session: SessionNonce
    public var outcome: Outcome

    public init(term: Term, session: SessionNonce, outcome: Outcome) {
        self.term = term
        self.session = session
        self.outcome = outcome
    }
}

/// "Campaign now": the last step of a leadership transfer (dissertation §3.10).
public struct TimeoutNow: Hashable, Sendable {
    public var term: Term
    /// The end of the leader's log; the receiver campaigns only when its durable log reaches it.
    public var last: EntryID
    /// The leader serves no more reads by a lease in this term, and none of the terms before has one.
    public var isLeaseReleased: Bool

    public init(term: Term, last: EntryID, isLeaseReleased: Bool = false) {
        self.term = term
        self.last = last
        self.isLeaseReleased = isLeaseReleased
    }
}

/// Asks the leader for an index that covers everything committed before the request was made (dissertation §6.4).
public struct ReadIndexRequest: Hashable, Sendable {
    public var term: Term
    /// Never used twice by a node, over restarts either: the first is drawn at random.
    public var number: UInt64

    public init(term: Term, number: UInt64) {
        self.term = term
        self.number = number
    }
}

public struct ReadIndexResponse: Hashable, Sendable {
    public var term: Term
    public var number: UInt64
    /// Nil when the receiver could not confirm that it leads.
    public var index: LogIndex?

    public init(term: Term, number: UInt64, index: LogIndex?) {
        self.term = term
        self.number = number
        self.index = index
    }
}

extension Message {
    /// The sender's term (a PreVoteRequest: the term it asks about).
    public var term: Term {
        switch self {
        case .preVoteRequest(let message): message.term
        case .preVoteResponse(let message): message.term
        case .requestVote(let message): message.term
        case .requestVoteResponse(let message): message.term
        case .appendEntries(let message): message.term
        case .appendEntriesResponse(let message): message.term
        case .installSnapshot(let message): message.term
        case .installSnapshotResponse(let message): message.term
        case .timeoutNow(let message): message.term
        case .readIndexRequest(let message): message.term
        case .readIndexResponse(let message): message.term
        }
    }
}
