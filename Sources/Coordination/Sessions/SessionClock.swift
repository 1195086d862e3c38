public import EsperTypes

/// The leader's deadlines of all sessions: volatile, kept beside the state machine and never replicated.
///
/// Every node feeds it the sessions that begin and end (``ApplyOutput``). Only the leader extends and expires: it proposes
/// ``Command/expireSessions(_:term:)`` for what ``expired(at:limit:)`` returns. A new leader gives every session a full
/// TTL and a grace in O(1), because it cannot know how long ago the last one was extended.
///
/// Sessions of one TTL stand in one queue in the order of their last extension, which is the order of their deadlines:
/// extending one moves it to the end. So every step is O(1), and asking for the expired looks at the first of each
/// queue. There are as many queues as different TTLs; beyond ``exactTTLs`` of them, new TTLs share queues with what is
/// at most 1/64 longer, and their sessions live by so much longer. A program that draws its TTLs makes no million queues.
///
/// Source: etcd's lessor; #9496 for what happens when promotion costs O(n).
public struct SessionClock: Sendable {
    /// Different TTLs that are kept to the nanosecond.
    package static let exactTTLs = 1024

    private struct Queue: Sendable {
        /// How long its sessions live, in nanoseconds.
        var ttl: Int64
        var head: Int32 = -1
        var tail: Int32 = -1
        /// Its sessions, with those whose expiry is proposed. Without any it is left to the next new TTL.
        var count = 0
    }

    private var slots: SessionSlots
    private var queues: [Queue] = []
    private var queueOfTTL: [Int64: Int32] = [:]
    private var idleQueues: [Int32] = []
    private var proposed: Set<SessionID> = []
    /// Every extension counts from here at least: when this node began to lead, and the grace it gave.
    private var base = Instant.zero
    /// No deadline is earlier.
    private var earliest = Instant.distantFuture
    /// Nothing is due before this: the last expiry could not be committed.
    private var pausedUntil = Instant.zero

    /// - Parameter sessions: those of a restored state machine; each gets its full TTL from `now`.
    public init(sessions: [SessionGrant] = [], at now: Instant = .zero) {
        slots = SessionSlots(capacity: sessions.count)
        for session in sessions { granted(session, at: now) }
    }

    public var count: Int { slots.count }

    /// A session began or ended.
    public mutating func changed(_ change: SessionChange, at now: Instant) {
        switch change {
        case .granted(let session): granted(session, at: now)
        case .ended(let session): ended(session)
        }
    }

    /// A session began.
    public mutating func granted(_ session: SessionGrant, at now: Instant) {
        guard slots.position(of: session.id) == nil else { return }
        let ttl = session.ttl.nanoseconds
        let queue = queue(for: ttl)
        queues[Int(queue)].count += 1
        let position = slots.add(.init(id: session.id, ttl: ttl, extended: now, queue: queue))
        append(position)
        earliest = min(earliest, deadline(position))
    }

    /// A session ended.
    public mutating func ended(_ session: SessionID) {
        guard let position = slots.position(of: session) else { return }
        if slots[position].isProposed {
            proposed.remove(session)
        } else {
            unlink(position)
        }
        left(slots[position].queue)
        slots.remove(session)
        if slots.count == 0 { earliest = .distantFuture }
    }

    /// Gives a session its full TTL from `now`.
    ///
    /// - Returns: the TTL, or `nil` when there is no such session or its expiry has already been proposed.
    public mutating func keepAlive(_ session: SessionID, at now: Instant) -> Duration? {
        guard let position = slots.position(of: session), !slots[position].isProposed else { return nil }
        // A clock that stands still or a grace still running must not put a later deadline before an earlier one.
        slots[position].extended = max(now, slots[position].extended, base)
        unlink(position)
        append(position)
        return .nanoseconds(slots[position].ttl)
    }

    /// This node leads from `now` on: every session has its full TTL and `grace` from here. O(1) plus the proposed expiries.
    public mutating func becameLeader(at now: Instant, grace: Duration) {
        base = max(base, now + grace)
        proposalFailed(proposed.sorted(), retryAt: .zero)
        earliest = lookUpEarliest()
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
                slots[position].isProposed = true
                found.append(slots[position].id)
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
            guard let position = slots.position(of: session), slots[position].isProposed else { continue }
            slots[position].isProposed = false
            prepend(position)
            earliest = min(earliest, deadline(position))
        }
    }

    /// When to ask ``expired(at:limit:)`` next; `nil` without sessions. Never late; early by no more than one keep-alive.
    public var nextDeadline: Instant? {
        earliest == .distantFuture ? nil : max(earliest, pausedUntil)
    }

    /// How long the session lives when nobody extends it; zero when its time is up.
    public func remaining(_ session: SessionID, at now: Instant) -> Duration? {
        guard let position = slots.position(of: session) else { return nil }
        return slots[position].isProposed ? .zero : max(.zero, deadline(position) - now)
    }

    // MARK: Queues

    private func deadline(_ position: Int32) -> Instant {
        let slot = slots[position]
        return max(slot.extended, base) + .nanoseconds(queues[Int(slot.queue)].ttl)
    }

    private func lookUpEarliest() -> Instant {
        queues.reduce(Instant.distantFuture) { $1.head < 0 ? $0 : min($0, deadline($1.head)) }
    }

    private mutating func queue(for ttl: Int64) -> Int32 {
        if let known = queueOfTTL[ttl] { return known }
        var ttl = ttl
        if queueOfTTL.count >= Self.exactTTLs {
            ttl = Self.rounded(ttl)
            if let known = queueOfTTL[ttl] { return known }
        }
        let queue = idleQueues.popLast() ?? Int32(queues.count)
        if queue == queues.count { queues.append(Queue(ttl: ttl)) } else { queues[Int(queue)] = Queue(ttl: ttl) }
        queueOfTTL[ttl] = queue
        return queue
    }

    /// Up to seven significant bits: from a tenth of a second to a day there are 1,262 such.
    private static func rounded(_ ttl: Int64) -> Int64 {
        let shift = max(0, Int64.bitWidth - ttl.leadingZeroBitCount - 7)
        let step = Int64(1) << Int64(shift)
        return (ttl + step - 1) / step * step
    }

    /// One session fewer.
    private mutating func left(_ queue: Int32) {
        queues[Int(queue)].count -= 1
        guard queues[Int(queue)].count == 0 else { return }
        queueOfTTL.removeValue(forKey: queues[Int(queue)].ttl)
        idleQueues.append(queue)
    }

    private mutating func append(_ position: Int32) {
        let queue = Int(slots[position].queue)
        let tail = queues[queue].tail
        slots[position].before = tail
        slots[position].next = -1
        if tail >= 0 { slots[tail].next = position } else { queues[queue].head = position }
        queues[queue].tail = position
    }

    private mutating func prepend(_ position: Int32) {
        let queue = Int(slots[position].queue)
        let head = queues[queue].head
        slots[position].next = head
        slots[position].before = -1
        if head >= 0 { slots[head].before = position } else { queues[queue].tail = position }
        queues[queue].head = position
    }

    private mutating func unlink(_ position: Int32) {
        let slot = slots[position]
        let queue = Int(slot.queue)
        if slot.before >= 0 { slots[slot.before].next = slot.next } else { queues[queue].head = slot.next }
        if slot.next >= 0 { slots[slot.next].before = slot.before } else { queues[queue].tail = slot.before }
    }
}
