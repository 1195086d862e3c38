public import EsperTypes

/// The leader's deadlines of all sessions: volatile, kept beside the state machine and never replicated.
///
/// Every node feeds it the sessions that begin and end (``ApplyOutput``). Only the leader extends and expires: it proposes
/// ``Command/expireSessions(_:term:)`` for what ``expired(at:limit:)`` returns. A new leader gives every session a full
/// TTL and a grace in O(1), because it cannot know how long ago the last one was extended.
///
/// Sessions of one TTL stand in one queue in the order of their last extension, which is the order of their deadlines:
/// extending one moves it to the end. So every step is O(1), and asking for the expired looks at the first of each
/// queue (there are as many as different TTLs).
///
/// Source: etcd's lessor; #9496 for what happens when promotion costs O(n).
public struct SessionClock: Sendable {
    /// One session, linked into its queue. Links are positions in `slots`; -1 ends.
    private struct Slot: Sendable {
        var id: SessionID
        var queue: Int32
        var next: Int32 = -1
        var before: Int32 = -1
        /// When it was last extended, if since `base`.
        var extended: Instant
        /// Out of its queue: its expiry has been proposed.
        var isProposed = false
    }

    private struct Queue: Sendable {
        var ttl: Duration
        var head: Int32 = -1
        var tail: Int32 = -1
    }

    private var slots: [Slot] = []
    private var free: [Int32] = []
    private var positions: [SessionID: Int32] = [:]
    private var queues: [Queue] = []
    private var queueOfTTL: [Duration: Int32] = [:]
    private var proposed: Set<SessionID> = []
    /// Every extension counts from here at least: when this node began to lead, and the grace it gave.
    private var base = Instant.zero
    /// No deadline is earlier; `nil` when it has to be looked up.
    private var earliest: Instant? = .distantFuture
    /// Nothing is due before this: the last expiry could not be committed.
    private var pausedUntil = Instant.zero

    /// - Parameter sessions: those of a restored state machine; each gets its full TTL from `now`.
    public init(sessions: [SessionGrant] = [], at now: Instant = .zero) {
        slots.reserveCapacity(sessions.count)
        positions.reserveCapacity(sessions.count)
        for session in sessions { granted(session, at: now) }
    }

    public var count: Int { positions.count }

    /// A session began.
    public mutating func granted(_ session: SessionGrant, at now: Instant) {
        guard positions[session.id] == nil else { return }
        let queue = queue(for: session.ttl)
        let slot = Slot(id: session.id, queue: queue, extended: now)
        let position: Int32
        if let reused = free.popLast() {
            position = reused
            slots[Int(reused)] = slot
        } else {
            position = Int32(slots.count)
            slots.append(slot)
        }
        positions[session.id] = position
        append(position)
        if let earliest { self.earliest = min(earliest, deadline(position)) }
    }

    /// A session ended.
    public mutating func ended(_ session: SessionID) {
        guard let position = positions.removeValue(forKey: session) else { return }
        if slots[Int(position)].isProposed {
            proposed.remove(session)
        } else {
            unlink(position)
        }
        free.append(position)
        if positions.isEmpty { earliest = .distantFuture }
    }

    /// Gives a session its full TTL from `now`.
    ///
    /// - Returns: the TTL, or `nil` when there is no such session or its expiry has already been proposed.
    public mutating func keepAlive(_ session: SessionID, at now: Instant) -> Duration? {
        guard let position = positions[session], !slots[Int(position)].isProposed else { return nil }
        // A clock that stands still or a grace still running must not put a later deadline before an earlier one.
        slots[Int(position)].extended = max(now, slots[Int(position)].extended, base)
        unlink(position)
        append(position)
        return queues[Int(slots[Int(position)].queue)].ttl
    }

    /// This node leads from `now` on: every session has its full TTL and `grace` from here. O(1) plus the proposed expiries.
    public mutating func becameLeader(at now: Instant, grace: Duration) {
        base = max(base, now + grace)
        proposalFailed(proposed.sorted(), retryAt: .zero)
        earliest = nil
    }

    /// Sessions whose time is up, longest overdue first as far as they share a TTL. Each is returned once: until it ends,
    /// ``proposalFailed(_:retryAt:)`` or ``becameLeader(at:grace:)`` brings it back.
    public mutating func expired(at now: Instant, limit: Int) -> [SessionID] {
        guard let first = nextDeadline, now >= first else { return [] }
        var found: [SessionID] = []
        for queue in queues.indices {
            while queues[queue].head >= 0, found.count < limit {
                let position = queues[queue].head
                guard deadline(position) <= now else { break }
                unlink(position)
                slots[Int(position)].isProposed = true
                found.append(slots[Int(position)].id)
            }
        }
        proposed.formUnion(found)
        earliest = lookUpEarliest()
        return found
    }

    /// The expiry of these sessions was not committed and is to be proposed again, but no expiry before `retryAt`.
    public mutating func proposalFailed(_ sessions: [SessionID], retryAt: Instant) {
        pausedUntil = retryAt
        if sessions.isEmpty { return }
        proposed.subtract(sessions)
        // In reverse, so that the longest overdue is first again.
        for session in sessions.reversed() {
            guard let position = positions[session], slots[Int(position)].isProposed else { continue }
            slots[Int(position)].isProposed = false
            prepend(position)
        }
        earliest = nil
    }

    /// When to ask ``expired(at:limit:)`` next; `nil` without sessions. Never late; early by no more than one keep-alive.
    public var nextDeadline: Instant? {
        let next = earliest ?? lookUpEarliest()
        return next == .distantFuture ? nil : max(next, pausedUntil)
    }

    /// How long the session lives when nobody extends it; zero when its time is up.
    public func remaining(_ session: SessionID, at now: Instant) -> Duration? {
        guard let position = positions[session] else { return nil }
        return slots[Int(position)].isProposed ? .zero : max(.zero, deadline(position) - now)
    }

    // MARK: Queues

    private func deadline(_ position: Int32) -> Instant {
        let slot = slots[Int(position)]
        return max(slot.extended, base) + queues[Int(slot.queue)].ttl
    }

    private func lookUpEarliest() -> Instant {
        queues.reduce(Instant.distantFuture) { $1.head < 0 ? $0 : min($0, deadline($1.head)) }
    }

    private mutating func queue(for ttl: Duration) -> Int32 {
        if let known = queueOfTTL[ttl] { return known }
        // A TTL nobody uses any more leaves its queue to the next new one.
        if queues.count > 64, let idle = queues.firstIndex(where: { $0.head < 0 }),
            !proposed.contains(where: { slots[Int(positions[$0]!)].queue == Int32(idle) })
        {
            queueOfTTL.removeValue(forKey: queues[idle].ttl)
            queues[idle].ttl = ttl
            queueOfTTL[ttl] = Int32(idle)
            return Int32(idle)
        }
        queues.append(Queue(ttl: ttl))
        queueOfTTL[ttl] = Int32(queues.count - 1)
        return Int32(queues.count - 1)
    }

    private mutating func append(_ position: Int32) {
        let queue = Int(slots[Int(position)].queue)
        let tail = queues[queue].tail
        slots[Int(position)].before = tail
        slots[Int(position)].next = -1
        if tail >= 0 { slots[Int(tail)].next = position } else { queues[queue].head = position }
        queues[queue].tail = position
    }

    private mutating func prepend(_ position: Int32) {
        let queue = Int(slots[Int(position)].queue)
        let head = queues[queue].head
        slots[Int(position)].next = head
        slots[Int(position)].before = -1
        if head >= 0 { slots[Int(head)].before = position } else { queues[queue].tail = position }
        queues[queue].head = position
    }

    private mutating func unlink(_ position: Int32) {
        let slot = slots[Int(position)]
        let queue = Int(slot.queue)
        if slot.before >= 0 { slots[Int(slot.before)].next = slot.next } else { queues[queue].head = slot.next }
        if slot.next >= 0 { slots[Int(slot.next)].before = slot.before } else { queues[queue].tail = slot.before }
    }
}
