import Coordination
import CoreMetrics
import EsperTypes
import Logging
import RaftCore

// The state that was worked out while the log was read takes the place of applying the log again.
extension NodeCore {
    /// Looks, once it is known what is committed, whether that reaches to the end of the replay.
    func adoptReplayIfCommitted(_ now: Instant) {
        guard let (replay, replayedSessions) = replay, raft.committed >= replay.state.applied.index else { return }
        self.replay = nil
        let last = replay.state.applied
        // A leader replaced the end of the log; or the little that it holds has been handed over already.
        guard raft.mayApplyAhead(through: last) else { return letGo(of: (replay, replayedSessions)) }
        metrics.applied.increment(by: last.index.distance(from: appliedIndex))
        unapplied = []
        replaceState(replay.state, replayedSessions)
        appliedLog = replay.log
        appliedLog.trim(toBytes: options.retainedTailBytes)
        logger.info("state taken over from the reading of the log", metadata: ["raft.index": "\(last.index)"])
        if role == .leader {
            sessions.becameLeader(at: now, grace: sessionGrace)
            observer.outboxGrew()
        }
        membersApplied()
        advanceMemberships()
        answerConfirmedReads()
        step(.applied(through: appliedIndex))
        snapshotIfDue()
    }
}
