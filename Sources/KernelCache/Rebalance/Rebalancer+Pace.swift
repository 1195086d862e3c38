import CacheCore
import EsperTypes
import Metrics
import RaftRuntime
import Synchronization

// How fast this node brings blobs, and when that is too much for somebody.
extension Rebalancer {
    /// Then the rate may be another.
    private static let longestPace = Duration.milliseconds(100)
    private static let movingInterval = Duration.milliseconds(250)
    private static let restInterval = Duration.seconds(1)

    /// Waits until so much may move, no faster than this node may, and slower while somebody suffers by it; or until nobody wants it any
    /// more.
    func pace(
        blobs: Int, bytes: Int, deadline: Instant = .distantFuture, unless isOver: () -> Bool = { false }
    ) async {
        while !Task.isCancelled, !isOver(), NodeClock.now() < deadline {
            guard let wait = state.withLock({ $0.rate.take(blobs: blobs, bytes: bytes, at: NodeClock.now()) }) else {
                return
            }
            // Cancelled: whoever moves them ends.
            try? await Task.sleep(for: min(wait, Self.longestPace))
        }
    }

    /// What a node gave tells how it is.
    func heard(_ fetched: FetchedBlobs) {
        if fetched.isStrained { state.withLock { $0.isSourceStrained = true } }
    }

    /// What this node does beside moves, as of the last time that it was judged.
    private struct ForegroundWork {
        var processorWait = ProcessorWait()
        var uses: UInt64 = 0
        var at = NodeClock.now()
        /// With fewer uses of the memory in a second nobody suffers if they take longer.
        static let fewUses = 16.0
    }

    /// Until the task is cancelled. Apart from ``follow()``, which takes its time to delete.
    func judge() async {
        var work = ForegroundWork()
        while !Task.isCancelled {
            judge(&work)
            let isMoving = state.withLock { $0.isMoving }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: isMoving ? Self.movingInterval : Self.restInterval)
        }
    }

    /// Whether moves are too much, for this node or for those that it gets blobs from.
    private func judge(_ work: inout ForegroundWork) {
        let (now, options) = (NodeClock.now(), parts.options)
        let isSlow =
            reads.takeSlowest() ?? .zero > options.slowestPeerRead
            || reports.takeSlowest() ?? .zero > options.slowestReport
        let processorWait = work.processorWait.takeMean() ?? .zero
        let uses = parts.memory.stat().counts.uses
        let isUsed = Double(uses &- work.uses) >= ForegroundWork.fewUses * Double((now - work.at).nanoseconds) / 1e9
        (work.uses, work.at) = (uses, now)
        let isStrained = isUsed && processorWait > options.longestProcessorWait
        self.isStrained.store(isStrained, ordering: .relaxed)
        state.withLock { state in
            state.rate.judge(isStrained: isSlow || isStrained || state.isSourceStrained, at: now)
            state.isSourceStrained = false
        }
        metrics.processorWait.record(Double(processorWait.nanoseconds) / 1e9)
    }
}
