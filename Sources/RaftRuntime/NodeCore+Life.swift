import Coordination
import EsperTypes
import NIOCore
import PeerTransport
import RaftCore

// Start and stop.
extension NodeCore {
    func start() -> EventLoopFuture<SocketAddress> {
        let now = NodeClock.now()
        nextReport = now
        scheduleScrub(now)
        recallMembers()
        scheduleTurn()
        return transport.start(delegate: self)
    }

    /// From now on new requests are refused as `draining`, and another node is asked to lead.
    ///
    /// Watches and waits, which may last for ever, end at once: their callers go on with another node meanwhile.
    func beginDrain() {
        isDraining = true
        noteReadiness()
        endWatchesAndWaits("this node is stopping")
        scheduleTurn()
        if role == .leader, !isOnlyVoter { step(.transferLeadership(to: nil)) }
    }

    /// Ends what may last for ever.
    func endWatchesAndWaits(_ reason: String) {
        for caller in watchCallers.values {
            cancellable[CallerKey(caller.sink, caller.token)] = nil
            fail(caller, .draining, "\(reason); watch another one", .notCommitted)
        }
        for id in watchCallers.keys { watches.remove(id) }
        watchCallers = [:]
        for claim in claims.values {
            cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
            failWait(claim.caller, reason)
        }
        claims = [:]
    }

    /// A single voter has nobody to hand over to.
    private var isOnlyVoter: Bool { raft.status.configuration.voters == [id] }

    /// The place in the queue is committed and stays with the session: whoever asks again elsewhere waits in it.
    func failWait(_ caller: Caller, _ reason: String = "this node is stopping") {
        fail(caller, .draining, "\(reason); ask another one, the place in the queue is kept", .unknown)
    }

    /// Succeeds when this node does not lead and nobody waits for it, or at the deadline.
    func whenDrained(by deadline: Instant, _ promise: EventLoopPromise<Void>) {
        let now = NodeClock.now()
        let isIdle = proposals.count == 0 && reads.count == 0 && questions.count == 0
        if isStopped || now >= deadline || (role != .leader && leader != nil && isIdle) { return promise.succeed() }
        // And who was removed leads nobody.
        if isOnlyVoter || exclusion != nil, isIdle { return promise.succeed() }
        // A transfer fails while no other voter is near enough; the next attempt may find one.
        if role == .leader, !isOnlyVoter, raft.status.transferTarget == nil { step(.transferLeadership(to: nil)) }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: .milliseconds(5)) { bound.value.whenDrained(by: deadline, promise) }
    }

    func stop() -> EventLoopFuture<Void> {
        guard !isStopped else { return eventLoop.makeSucceededVoidFuture() }
        failEverything()
        certifications.endAll()
        refuseRequests()
        isStopped = true
        timer?.cancel()
        return transport.stop()
    }

    private func failEverything() {
        let message = "the node stopped before it had an answer"
        proposals.forEach { _, proposal in
            guard let caller = proposal.caller else { return }
            fail(caller, .draining, message, proposal.state == .waiting ? .notCommitted : .unknown)
        }
        reads.forEach { _, read in
            switch read.purpose {
            case .query(_, let caller), .longQuery(_, let caller), .timeToLive(_, _, let caller),
                .attachedKeys(_, let caller),
                .stateCopy(let caller):
                fail(caller, .draining, message, .notCommitted)
            case .keepAlive(_, let caller): fail(caller, .draining, message, .unknown)
            case .peerKeepAlive, .peerTimeToLive: break
            }
        }
        questions.forEach { _, question in fail(question.caller, .draining, message, .unknown) }
        for case .caller(let caller) in transfers.map(\.asker) { fail(caller, .draining, message, .unknown) }
        for case .caller(let caller) in memberships.values.map(\.asker) { fail(caller, .draining, message, .unknown) }
        for claim in claims.values { failWait(claim.caller) }
        for caller in watchCallers.values { fail(caller, .draining, message, .notCommitted) }
    }
}
