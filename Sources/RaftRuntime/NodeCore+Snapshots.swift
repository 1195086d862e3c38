import Coordination
import CoreMetrics
import EsperTypes
import Logging
import NIOCore
import RaftCore
import RaftStorage

// Snapshots of the own state, and those that are sent to or come from a peer. Files are touched by the worker alone.
extension NodeCore {
    /// Starts a snapshot when the log has grown enough. The copy is O(1), so apply goes on while it is written.
    func snapshotIfDue() {
        guard appliedLog.bytesSinceSnapshot >= snapshotDueBytes || repair.isDue(at: NodeClock.now()),
            !isSnapshotRunning, !isCatchingUp, let basis = raft.snapshotBasis(at: appliedIndex)
        else { return }
        isSnapshotRunning = true
        appliedLog.snapshotBegun()
        // After damage nothing before the new snapshot is kept, so that the damaged files go.
        let retainFrom =
            repair.snapshotBegins()
            ? basis.id.index.next : min(appliedLog.marks.first ?? basis.id.index, basis.id.index)
        logger.info("snapshot begins", metadata: ["raft.index": "\(basis.id.index)"])
        run({ [state] worker in try worker.write(state, basis) }) { core, result in
            core.isSnapshotRunning = false
            switch result {
            case .success(let descriptor):
                core.repair.snapshotWritten()
                core.metrics.snapshots.increment()
                core.logger.info(
                    "snapshot written",
                    metadata: ["raft.index": "\(descriptor.index)", "bytes": "\(descriptor.sizeBytes)"])
                core.step(.snapshotTaken(descriptor, retainFrom: retainFrom))
            case .failure(let error):
                // The log still holds everything; the next attempt comes after as much growth again, or a pause when it is a repair.
                core.repair.snapshotFailed(at: NodeClock.now())
                core.logger.error("snapshot failed; the log keeps growing", metadata: ["error": "\(error)"])
            }
        }
    }

    /// So far behind what is committed that a snapshot of now would soon be old; the log to the end of that is in memory anyway.
    private var isCatchingUp: Bool {
        raft.committed.distance(from: appliedIndex) > options.raft.maximumUnappliedEntries
    }

    /// A large state is written less often: at least half as much log as the last snapshot was long lies between two. So
    /// writing them costs at most twice what the log costs, and at any rate of writing below half of the rate of sending
    /// the second snapshot sent to a node that is behind is followed by log.
    private var snapshotDueBytes: Int {
        max(options.snapshotAfterBytes, Int(raft.status.snapshot?.sizeBytes ?? 0) / 2)
    }

    /// Bounds memory without anybody's care: history that nobody asked to keep is compacted in steps of a tenth.
    ///
    /// A proposal that is refused, or lost with its leader, is made up for by the next step.
    func compactHistoryIfDue() {
        let kept = options.historyRevisions
        guard kept > 0, role == .leader, state.revision >= nextCompaction else { return }
        let step = max(kept / 10, 1)
        let through = state.revision.rawValue > UInt64(kept) ? state.revision.rawValue - UInt64(kept) : 0
        if through >= state.compactedRevision.rawValue + UInt64(step) { propose(.compact(through: Revision(through))) }
        nextCompaction = Revision(
            max(state.revision.rawValue, state.compactedRevision.rawValue + UInt64(kept)) + UInt64(step))
    }

    /// Only once the log durably names a newer one: a start before that needs the old.
    ///
    /// - Parameter named: that one. What the core calls its newest may be newer still, and in no durable record yet.
    func pruneSnapshots(olderThan named: SnapshotDescriptor) {
        let kept = raft.status.snapshotsInUse + [named]
        run({ worker in try worker.prune(keeping: kept) }) { core, result in
            if case .failure(let error) = result {
                core.logger.warning("old snapshots could not be removed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// After a turn's effects are gone nobody else has these entries, so it is the worker that frees them.
    func letGoOfDiscarded() {
        guard !discarded.isEmpty else { return }
        letGo(of: discarded)
        discarded = []
    }

    func readSnapshotChunk(for peer: NodeID, _ descriptor: SnapshotDescriptor, offset: UInt64, maximumBytes: Int) {
        run({ worker in try worker.read(descriptor, at: offset, maximumBytes: maximumBytes) }) { core, result in
            switch result {
            case .success(let chunk):
                core.step(
                    .snapshotChunkRead(
                        to: peer, descriptor, offset: offset, bytes: chunk.bytes, isLast: chunk.isLast))
            case .failure(let error):
                core.logger.error("a snapshot cannot be read for a peer", metadata: ["error": "\(error)"])
                core.step(.snapshotReadFailed(to: peer, descriptor))
                guard let error = error as? StorageError else { return }
                core.repair.readFailed(
                    error, isNewest: descriptor == core.raft.status.snapshot, at: NodeClock.now())
                core.snapshotIfDue()
            }
        }
    }

    func writeSnapshotChunk(_ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool) {
        if toldReceiving != descriptor {
            toldReceiving = descriptor
            logger.info(
                "a snapshot is being received",
                metadata: [
                    "raft.index": "\(descriptor.index)", "bytes": "\(descriptor.sizeBytes)", "offset": "\(offset)",
                ])
        }
        run({ worker in try worker.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast) }) {
            core, result in
            switch result {
            case .success(let through):
                core.step(isLast ? .snapshotInstalled(descriptor) : .snapshotChunkWritten(descriptor, through: through))
            case .failure(let error):
                core.logger.warning("a received snapshot was not accepted", metadata: ["error": "\(error)"])
                core.step(.snapshotWriteFailed(descriptor))
            }
        }
    }

    /// Replaces the state by an installed snapshot, which is read beside this loop: links and elections go on meanwhile,
    /// and the core hands out nothing to apply before the end is reported.
    func restoreStateMachine(_ descriptor: SnapshotDescriptor) {
        // The snapshot covers all that was handed over before it.
        unapplied = []
        run({ worker in try worker.restore(descriptor) }) { core, result in
            switch result {
            case .success(let restored): core.stateRestored(restored.state, restored.sessions, descriptor)
            case .failure(let error):
                core.observer.storageFailed(
                    error as? StorageError ?? StorageError(.corrupted, "\(error)", path: "snapshots"))
            }
        }
    }

    private func stateRestored(
        _ restored: StateMachine, _ restoredSessions: SessionClock, _ descriptor: SnapshotDescriptor
    ) {
        // It reaches further than what the log led to.
        replay = nil
        replaceState(restored, restoredSessions)
        appliedLog = AppliedLog()
        logger.notice("state restored from a snapshot", metadata: ["raft.index": "\(descriptor.index)"])
        membersApplied()
        settleAfterRestore()
    }

    /// Goes on with a state that others, or another thread, have made of committed entries.
    func replaceState(_ newState: StateMachine, _ newSessions: SessionClock) {
        takeStateBack()
        letGo(of: (state, sessions))
        state = newState
        sessions = newSessions
        appliedIndex = state.applied.index
        appliedTerm = state.applied.term
        publishPermissions()
        names.applied(state, isRestored: true)
        namesShownThrough = appliedIndex
        areNamesUntold = false
        observer.namesChanged(nil)
        agreement.stateRestored()
        // Watchers go on in the new state's history where they were.
        watches.stateRestored(at: state.revision)
    }

    /// To free a large state takes longer than a heartbeat may be late: the worker does it.
    func letGo<Value>(of value: Value) {
        let waste = Waste(value)
        snapshotWorker.submit { waste.value = nil }
    }

    /// Commands that the snapshot covers were applied elsewhere: their answers are not known here.
    private func settleAfterRestore() {
        var covered: [UInt64] = []
        proposals.forEach { number, proposal in if case .sent = proposal.state { covered.append(number) } }
        for number in covered {
            guard let proposal = proposals.remove(number), let caller = proposal.caller else { continue }
            if proposal.claim != nil { cancellable[CallerKey(caller.sink, caller.token)] = nil }
            fail(caller, .leadershipChanged, "this node caught up by a snapshot; the answer is not known", .unknown)
        }
        // Claims may have been granted, or lost their place, within what the snapshot covers.
        settleClaimsAfterRestore()
        answerConfirmedReads()
        step(.applied(through: appliedIndex))
    }

    /// Runs `work` on the worker's thread and `finish` back on this loop, unless a sync has failed: then the process stops.
    private func run<Value: Sendable>(
        _ work: @escaping @Sendable (SnapshotWorker) throws -> Value,
        finish: @escaping @Sendable (NodeCore, Result<Value, any Error>) -> Void
    ) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let (worker, eventLoop) = (snapshotWorker, eventLoop)
        worker.submit {
            let result = Result { try work(worker) }
            eventLoop.execute {
                guard !bound.value.isStopped else { return }
                if case .failure(let error as StorageError) = result, error.isFailedSync {
                    return bound.value.observer.storageFailed(error)
                }
                finish(bound.value, result)
            }
        }
    }
}

/// What takes long to free.
///
/// `@unchecked Sendable`: the worker alone touches it once it is handed over.
private final class Waste<Value>: @unchecked Sendable {
    var value: Value?

    init(_ value: Value) { self.value = value }
}
