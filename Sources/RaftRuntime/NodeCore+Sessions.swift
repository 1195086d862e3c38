import Coordination
import EsperTypes
import PeerTransport
import RaftCore

// Sessions are renewed, and their time is told, by the leader alone, after a quorum confirmed that it leads; nothing is written.
extension NodeCore {
    func keepAlive(_ session: SessionID, _ caller: Caller, reads numbers: inout [UInt64]) {
        guard role == .leader else { return askLeader(.keepAlive(session), caller) }
        numbers.append(
            reads.add(
                PendingRead(purpose: .keepAlive(session, caller), deadline: caller.deadline)))
    }

    func renew(_ session: SessionID, _ now: Instant) -> PeerAnswer {
        guard role == .leader else { return .notLeader }
        return sessions.keepAlive(session, at: now).map { .keptAlive(ttl: $0) } ?? .sessionNotFound
    }

    // MARK: - Time to live

    func timeToLive(_ session: SessionID, withKeys: Bool, _ caller: Caller, reads numbers: inout [UInt64]) {
        guard role == .leader else { return askLeader(.timeToLive(session, withKeys: withKeys), caller) }
        numbers.append(
            reads.add(
                PendingRead(
                    purpose: .timeToLive(session, withKeys: withKeys, caller), deadline: caller.deadline)))
    }

    func timeToLive(_ session: SessionID, _ now: Instant) -> PeerAnswer {
        guard role == .leader else { return .notLeader }
        guard let left = left(of: session, now) else { return .sessionNotFound }
        return .timeToLive(granted: left.granted, remaining: left.remaining)
    }

    /// A quorum has confirmed this node, if it leads still.
    func answerTimeToLive(_ session: SessionID, withKeys: Bool, _ caller: Caller, _ now: Instant) {
        guard role == .leader else { return askLeader(.timeToLive(session, withKeys: withKeys), caller) }
        guard let left = left(of: session, now) else { return failUnknownSession(session, caller) }
        answerTimeToLive(left, withKeys: withKeys, caller)
    }

    /// The leader has told another node's caller. Keys may be too many for a frame, and are as well known here, after a round.
    func timeToLiveTold(_ told: SessionTimeToLive, withKeys: Bool, _ caller: Caller) {
        guard withKeys else { return reply(caller, .timeToLive(told)) }
        nextExpiry = min(nextExpiry, caller.deadline)
        step(.read([reads.add(PendingRead(purpose: .attachedKeys(told, caller), deadline: caller.deadline))]))
    }

    func answerTimeToLive(_ told: SessionTimeToLive, withKeys: Bool, _ caller: Caller) {
        guard withKeys else { return reply(caller, .timeToLive(told)) }
        guard isAuthorized(state.need(ofKeysOf: told.session), caller) else { return }
        guard case .session(let session?) = state.answer(.session(told.session, withKeys: true)).result else {
            return failUnknownSession(told.session, caller)
        }
        var told = told
        told.keys = session.keys
        reply(caller, .timeToLive(told))
    }

    private func left(of id: SessionID, _ now: Instant) -> SessionTimeToLive? {
        guard let remaining = sessions.remaining(id, at: now),
            case .session(let session?) = state.answer(.session(id, withKeys: false)).result
        else { return nil }
        // A new leader's grace is no promise.
        return SessionTimeToLive(session: id, granted: session.ttl, remaining: min(remaining, session.ttl))
    }

    func failUnknownSession(_ session: SessionID, _ caller: Caller) {
        fail(caller, .sessionNotFound, "session \(session) does not exist or has expired", .notCommitted)
    }
}
