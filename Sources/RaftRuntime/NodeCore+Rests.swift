import Coordination
import EsperTypes
import NIOCore

// The loop looks at its links, and so hears that a leader lives, only when no task is left to do; and doors that are asked without a
// pause leave one at any time. So after some work what is left of it waits a moment, in which the loop looks at them.
extension NodeCore {
    /// How long links and timers wait for requests, and for entries to apply, but for a single one that takes longer.
    static let longestWork: Duration = .milliseconds(2)
    /// Longer than the loop takes to come back to what is due at once: so it looks at its links first.
    private static let rest: Duration = .microseconds(50)

    /// Work begins: after a pause, or on top of the last.
    func noteWork(at now: Instant) {
        if now - workEnded > Self.rest { busySince = now }
    }

    func isRestDue(at now: Instant) -> Bool { now - busySince >= Self.longestWork }

    /// At the end of a turn, when there is nothing else to do.
    func restIfWorkIsLeft() {
        guard areRequestsLeft || !unapplied.isEmpty || watches.needsCatchUp, !isRestScheduled else { return }
        isRestScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: TimeAmount(Self.rest)) { bound.value.goOn() }
    }

    private func goOn() {
        isRestScheduled = false
        guard !isStopped else { return }
        let now = NodeClock.now()
        busySince = now
        if areRequestsLeft { drainMailbox() }
        if !unapplied.isEmpty { applySome(NodeClock.now()) }
        if watches.needsCatchUp { scheduleTurn() }
    }
}
