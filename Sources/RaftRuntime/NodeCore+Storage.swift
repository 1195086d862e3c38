import CoreMetrics
import EsperTypes
import Logging
import NIOCore
import RaftCore
import RaftStorage

// What was stored long ago and nobody reads: the check of it, and what is done about damage.
extension NodeCore {
    /// What the start found, said once.
    func reportDamage(_ damage: StorageError?) {
        metrics.quarantined.record(raft.isQuarantined ? 1 : 0)
        guard raft.isQuarantined else { return }
        logger.error(
            "storage is damaged: this node neither votes nor leads until it has fetched what it lost from the leader",
            metadata: ["error": "\(damage.map { "\($0)" } ?? "found at an earlier start")"])
    }

    func quarantineEnded() {
        metrics.quarantined.record(0)
        logger.notice("what was lost to damage is there again: this node votes", metadata: ["raft.term": "\(term)"])
        noteReadiness()
    }

    func scheduleScrub(_ now: Instant) {
        nextScrub = options.scrubInterval > .zero ? now + options.scrubInterval : .distantFuture
    }

    /// Begins a pass over the sealed segments and the newest snapshot, beside everything else.
    func scrub() {
        nextScrub = .distantFuture
        let snapshot = raft.status.snapshot
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        scrubber.start(snapshot: snapshot) { [eventLoop] report in
            eventLoop.execute { bound.value.scrubbed(report) }
        }
    }

    /// Everything that a damaged file held is in this node's memory, as state or as log: a new snapshot takes its place.
    private func scrubbed(_ report: Scrubber.Report) {
        guard !isStopped else { return }
        scheduleScrub(NodeClock.now())
        metrics.scrubPasses.increment()
        metrics.scrubBytes.increment(by: Int64(clamping: report.bytes))
        metrics.scrubDamages.increment(by: Int64(report.damages.count))
        for damage in report.damages {
            logger.error("stored bytes are damaged: a new snapshot replaces them", metadata: ["error": "\(damage)"])
        }
        if report.damages.isEmpty {
            logger.debug("storage is sound", metadata: ["bytes": "\(report.bytes)"])
        }
        repair.scrubbed(report, at: NodeClock.now())
        snapshotIfDue()
        scheduleTurn()
    }
}
