public import Coordination
public import EsperTypes

/// What a front door asks of the node, whichever protocol it came by.
///
/// Doors hand over whole batches through ``NodeHandle/submit(_:from:)``; every request is answered exactly once
/// through its ``ReplySink`` (a watch any number of times, then once with its end), some milliseconds after the deadline at
/// the latest.
public struct ServiceRequest: Sendable {
    /// Chosen by the sink; names the request in replies and in ``Operation/cancel``.
    public var token: UInt64
    /// On the node's clock (``NodeClock``).
    public var deadline: Instant
    /// Who asks, from the certificate or what a door has signed; recorded in the audit trail, and judged where permissions
    /// are in force (``AuthTable``).
    public var principal: String
    public var operation: Operation
    /// The connection that a watch was opened by, where it can have several, told from every other connection of all doors:
    /// its watches share what may be on the way to it.
    public var connection: UInt64?

    public init(
        token: UInt64, deadline: Instant, principal: String, operation: Operation, connection: UInt64? = nil
    ) {
        self.token = token
        self.deadline = deadline
        self.principal = principal
        self.operation = operation
        self.connection = connection
    }

    public enum Operation: Sendable {
        /// Proposed to the log; forwarded when another node leads.
        case command(Command, RequestID?)
        /// A lock acquisition or campaign, answered when it is granted or, with ``ServiceFailure/Code/notGranted``, when
        /// the wait ended without. Leaving the queue takes a command of its own, so `until` should lie before the
        /// deadline of the request; in the past it means: try once.
        case claim(Command, RequestID?, until: Instant)
        /// Answered from this node's state: after a ReadIndex round, or at once when `linearizable` is false.
        case query(Query, linearizable: Bool)
        /// Answered when a quorum confirmed that the leader still leads.
        case keepAlive(SessionID)
        /// How long a session lives when nobody keeps it alive, by the leader's clock once a quorum confirmed that it leads;
        /// with the keys attached to it when they are asked for, as they are then.
        case timeToLive(SessionID, withKeys: Bool)
        case watch(WatchRequest)
        /// The door wrote `bytes` of a watch's deliveries out; its window grows by them.
        case watchCredit(bytes: Int)
        /// Has a watch tell how far it has come, with a delivery that may hold no events; names the watch by its token.
        case watchProgress
        /// Ends the wait or watch with this token; a wait that ends this way is not answered.
        case cancel
        case status
        /// A copy of the state machine, for reads too long for the core loop: after a ReadIndex round, or at once.
        case stateCopy(linearizable: Bool)
        /// To the member of this name, or to the one that is furthest.
        case transferLeadership(toMember: String?)
        /// Answered when the configuration that holds all of them is committed.
        case changeMembers([MemberChange])
        /// Keeps the member of this name from leading and being ready, until this is undone or it starts anew.
        case setAside(member: String, Bool)
        /// Development only: drops all traffic with the peers of these names, and with no others; empty: with all.
        case isolate(fromPeers: [String])
        /// Ends every ``isolate(fromPeers:)``.
        case heal
    }
}

/// The answer to one ``ServiceRequest``.
public struct ServiceReply: Sendable {
    public var token: UInt64
    public var body: Body

    public init(token: UInt64, body: Body) {
        self.token = token
        self.body = body
    }

    public enum Body: Sendable {
        case command(CommandReply)
        case query(QueryReply)
        /// The session lives for this much longer from the moment the keep-alive was sent.
        case keptAlive(ttl: Duration)
        case timeToLive(SessionTimeToLive)
        /// More of a watch; the watch goes on.
        case watch(WatchDelivery)
        case status(ClusterStatus)
        case stateCopy(StateCopy)
        /// Leadership was handed over.
        case transferred(leader: String, term: Term)
        /// Members were changed as asked.
        case membersChanged(MembershipReply)
        case done
        case failed(ServiceFailure)
    }
}

/// What is left of a session.
public struct SessionTimeToLive: Hashable, Sendable {
    public var session: SessionID
    public var granted: Duration
    /// Zero when its time is up and its end is being committed.
    public var remaining: Duration
    /// The attached keys in order, when they were asked for.
    public var keys: [[UInt8]]

    public init(session: SessionID, granted: Duration, remaining: Duration, keys: [[UInt8]] = []) {
        self.session = session
        self.granted = granted
        self.remaining = remaining
        self.keys = keys
    }
}

/// The state machine as it was when it was asked for; it stays so, and may be read on any thread.
///
/// While it is held, what the node has replaced since is held too.
public final class StateCopy: Sendable {
    public let state: StateMachine

    init(_ state: StateMachine) { self.state = state }
}

/// Why a request has no result, with what is known about its effect.
public struct ServiceFailure: Error, Hashable, Sendable {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// No leader was found before the deadline.
        case noLeader = "no_leader"
        /// The time given was over.
        case timedOut = "timed_out"
        case overloaded
        /// The leader's disk is full; it serves reads, and commands again as soon as there is space.
        case storageFull = "storage_full"
        /// The node is stopping; ask another one.
        case draining
        /// The leader changed while the request was on its way.
        case leadershipChanged = "leadership_changed"
        /// A linearizable read could not be confirmed by a quorum.
        case unconfirmed
        case oversized
        case sessionNotFound = "session_not_found"
        /// Permissions are in force, and the caller has none for this.
        case permissionDenied = "permission_denied"
        /// Permissions are in force, and the caller is nobody that could have one.
        case userUnknown = "user_unknown"
        case transferFailed = "transfer_failed"
        case compacted
        /// The lock or election was another session's until the wait ended, and the caller does not stand in its queue.
        case notGranted = "not_granted"
        /// Another call of the same session ended its wait, which took both out of the queue.
        case withdrawn
        /// A later call of the same session, on this node, waits in the place of this one and is told what becomes of it.
        case superseded
        /// The connection, or the node, has as many watches as it may.
        case tooManyWatches = "too_many_watches"
        /// No member has this name.
        case unknownMember = "unknown_member"
        /// Another node has the name or address of the one that is to be added.
        case memberExists = "member_exists"
        /// The learner's log is too far behind for a vote.
        case notCaughtUp = "not_caught_up"
        /// The member has not answered lately.
        case notHeard = "not_heard"
        /// Too few of those who would decide have answered lately.
        case quorumNotHeard = "quorum_not_heard"
        /// Another change of members is not finished.
        case changePending = "change_pending"
        /// The change of members makes no sense as things are.
        case changeRefused = "change_refused"
    }

    /// Who has what a claim was not granted.
    public struct Holder: Hashable, Sendable {
        public var session: SessionID
        public var token: FencingToken
        /// The principal that asked for the lock, or the value of the elected.
        public var value: [UInt8]
    }

    public var code: Code
    public var message: String
    public var outcome: Outcome
    /// The leader's name, where the request may do better.
    public var leader: String?
    /// Where the leader's API port answers.
    public var leaderAPIAddress: String?
    /// With ``Code/notGranted``: who has it, if somebody still does.
    public var holder: Holder?
    /// With ``Code/compacted``: the lowest revision that can be read.
    public var compacted: Revision?

    public init(
        code: Code, message: String, outcome: Outcome, leader: String? = nil, leaderAPIAddress: String? = nil,
        holder: Holder? = nil, compacted: Revision? = nil
    ) {
        self.code = code
        self.message = message
        self.outcome = outcome
        self.leader = leader
        self.leaderAPIAddress = leaderAPIAddress
        self.holder = holder
        self.compacted = compacted
    }

    public var isRetryable: Bool {
        switch code {
        case .noLeader, .timedOut, .overloaded, .storageFull, .draining, .leadershipChanged, .unconfirmed, .withdrawn:
            true
        // Asked again, a call that was superseded would only take the place of the one that took its own.
        case .oversized, .sessionNotFound, .permissionDenied, .userUnknown, .transferFailed, .compacted, .notGranted,
            .superseded, .tooManyWatches,
            .unknownMember, .memberExists, .notCaughtUp, .notHeard, .quorumNotHeard, .changePending, .changeRefused:
            false
        }
    }
}

/// Where replies go: one per event loop of a door.
public protocol ReplySink: AnyObject, Sendable {
    /// Takes the replies of one turn of the core loop. Called on the core loop; must not block.
    func deliver(_ replies: [ServiceReply])
}
