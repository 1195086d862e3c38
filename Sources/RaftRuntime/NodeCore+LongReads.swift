import Coordination
import CoreMetrics
import DequeModule
import EsperTypes
import NIOCore
import NIOPosix

// Reads that take longer than the core loop has for one caller: answered on another thread from a copy of the state, which
// costs nothing to take and is as new as the state was when the reading began.
extension NodeCore {
    /// Versions of keys that a read may look at here: tens of microseconds' worth.
    private static let quickVersions = 1024
    /// Reading at the same time; the others wait, without a copy, until their deadline.
    private static let maximumLongReads = 2

    /// Answers a query whose freshness is settled: now, or as soon as it has been read.
    func answerQuery(_ query: Query, _ caller: Caller) {
        guard state.effort(of: query) > Self.quickVersions else {
            return reply(caller, .query(state.answer(query, to: caller.principal)))
        }
        metrics.longReads.increment()
        nextExpiry = min(nextExpiry, caller.deadline)
        let read = PendingRead(purpose: .longQuery(query, caller), deadline: caller.deadline)
        longReads.append(reads.add(read))
        beginLongReads()
    }

    private func beginLongReads() {
        while runningLongReads < Self.maximumLongReads, let number = longReads.popFirst() {
            // Gone: its time was over.
            guard let read = reads[number], case .longQuery(let query, let caller) = read.purpose else { continue }
            runningLongReads += 1
            let bound = NIOLoopBound(self, eventLoop: eventLoop)
            NIOThreadPool.singleton.submit { [eventLoop, state, principal = caller.principal] activity in
                guard activity == .active else { return }
                let answer = state.answer(query, to: principal)
                eventLoop.execute { bound.value.longReadEnded(number, answer) }
            }
        }
    }

    private func longReadEnded(_ number: UInt64, _ answer: QueryReply) {
        runningLongReads -= 1
        guard !isStopped else { return }
        if let read = reads.remove(number), case .longQuery(_, let caller) = read.purpose {
            reply(caller, .query(answer))
        }
        beginLongReads()
        scheduleTurn()
    }
}
