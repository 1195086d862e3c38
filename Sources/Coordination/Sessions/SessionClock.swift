public import EsperTypes

/// The leader's deadlines of all sessions: volatile, kept beside the state machine and never replicated.
///
/// Every node feeds it the sessions that begin and end (``ApplyOutput``). Only the leader extends and expires: it proposes
/// ``Command/expireSessions(_:term:)`` for what ``expired(at:limit:)`` returns. A new leader gives every session a full
/// TTL and a grace in O(1), because it cannot know how long ago the last one was extended.
///
/// Source: etcd's lessor; #9496 for what happens when promotion costs O(n).
public struct SessionClock: Sendable {
    /// - Parameter sessions: those of a restored state machine; each gets its full TTL from `now`.
    public init(sessions: [SessionGrant] = [], at now: Instant = .zero) {}

    public var count: Int { 0 }

    /// A session began.
    public mutating func granted(_ session: SessionGrant, at now: Instant) {}

    /// A session ended.
    public mutating func ended(_ session: SessionID) {}

    /// Gives a session its full TTL from `now`.
    ///
    /// - Returns: the TTL, or `nil` when there is no such session or its expiry has already been proposed.
    public mutating func keepAlive(_ session: SessionID, at now: Instant) -> Duration? { nil }

    /// This node leads from `now` on: every session has its full TTL and `grace` from here. O(1) plus the proposed expiries.
    public mutating func becameLeader(at now: Instant, grace: Duration) {}

    /// Sessions whose time is up, longest overdue first as far as they share a TTL. Each is returned once: until it ends,
    /// ``proposalFailed(_:)`` or ``becameLeader(at:grace:)`` brings it back.
    public mutating func expired(at now: Instant, limit: Int) -> [SessionID] { [] }

    /// The expiry of these sessions was not committed and is to be proposed again; those still there are due at once.
    public mutating func proposalFailed(_ sessions: [SessionID]) {}

    /// When to ask ``expired(at:limit:)`` next; `nil` without sessions. Never late; early by no more than one keep-alive.
    public var nextDeadline: Instant? { nil }

    /// How long the session lives when nobody extends it; zero when its time is up.
    public func remaining(_ session: SessionID, at now: Instant) -> Duration? { nil }
}
