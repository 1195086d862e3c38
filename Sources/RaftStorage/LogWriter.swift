internal import CoreMetrics
public import EsperTypes
public import RaftCore

/// The log's threads: one writes and syncs, one prepares segments ahead and removes old ones.
///
/// Group commit: while one group is being synced the next batches gather in the queue, and all of them become the
/// next group. ``append(_:)`` only enqueues. Callbacks come on the writer's thread, one `onDurable` for each group.
///
/// The first failure ends the writer: `onFailure` comes once, nothing is written or reported durable after it, and
/// the process must stop.
public final class LogWriter: Sendable {
    public struct Callbacks: Sendable {
        /// All batches up to this one are durable.
        public var onDurable: @Sendable (WriteSequence) -> Void
        /// The log has failed for good.
        public var onFailure: @Sendable (StorageError) -> Void
        /// Why space for the next segment could not be reserved; nil: it is. While it is not, refuse proposals: the log goes
        /// on until the active segment is full, then it fails with the same.
        public var onSpaceReserved: @Sendable (StorageError?) -> Void

        public init(
            onDurable: @escaping @Sendable (WriteSequence) -> Void,
            onFailure: @escaping @Sendable (StorageError) -> Void,
            onSpaceReserved: @escaping @Sendable (StorageError?) -> Void = { _ in }
        ) {
            self.onDurable = onDurable
            self.onFailure = onFailure
            self.onSpaceReserved = onSpaceReserved
        }
    }

    public enum Pressure: Sendable, Hashable {
        case normal
        /// The disk falls behind: stop admitting work until a later `append` answers `normal`, or this batch is durable.
        case congested
    }

    struct Queue {
        var batches: [WriteBatch] = []
        var queuedBytes = 0
        var isClosing = false
        var hasFailed = false
        /// More was handed over than the queue may hold; the maintenance thread reports it, the writer may hang.
        var hasOverflowed = false
        /// Whether the writer waits and must be woken.
        var isWaiting = false
        /// What the maintenance thread may write into the metadata slots.
        var durableThrough: UInt64 = 0
        var activeSegment: UInt64 = 0
    }

    struct Maintenance {
        var isStopping = false
        var isAsked = true
    }

    private let end: RecoveredLogEnd
    private let queue = Monitor(Queue())
    private let maintenance = Monitor(Maintenance())
    private let threads: Monitor<[DedicatedThread]>
    private let options: StorageOptions
    private let metrics = StorageMetrics()

    /// How long the log is idle before it leaves the idle mark.
    private static let idleMarkDelay = Duration.milliseconds(2)
    /// How often the metadata slots follow the log, and how soon a failed reservation is tried again.
    private static let maintenanceInterval = Duration.seconds(1)
    /// Between two 256 KiB steps of filling a segment.
    private static let fillPause = Duration.milliseconds(1)

    /// Starts the threads.
    ///
    /// - Parameter now: a monotonic clock, for the metrics alone.
    public init(_ end: RecoveredLogEnd, now: @escaping @Sendable () -> Instant, callbacks: Callbacks) {
        self.end = end
        options = end.options
        threads = Monitor([])
        let writer = DedicatedThread(name: "esper-log") { [self] in write(callbacks, now: now) }
        let maintainer = DedicatedThread(name: "esper-log-space") { [self] in maintain(callbacks) }
        threads.withLock { $0 = [writer, maintainer] }
    }

    /// Queues a batch; never blocks on the disk. Batches become durable in the order they were queued.
    ///
    /// After a failure, or once closing has begun, batches are dropped: nothing will be reported about them.
    @discardableResult
    public func append(_ batch: WriteBatch) -> Pressure {
        let bytes = GroupBuffer.encodedBytes(batch)
        let limit = options.maximumQueueBytes
        let (queuedBytes, mustWake, overflows) = queue.withLock { queue -> (Int, Bool, Bool) in
            guard !queue.isClosing, !queue.hasFailed, !queue.hasOverflowed else {
                return (queue.queuedBytes, false, false)
            }
            queue.batches.append(batch)
            queue.queuedBytes += bytes
            queue.hasOverflowed = queue.queuedBytes > limit
            return (queue.queuedBytes, queue.isWaiting, queue.hasOverflowed)
        }
        if mustWake { queue.notify() }
        if overflows { askForMaintenance() }
        return queuedBytes > options.congestedQueueBytes ? .congested : .normal
    }

    /// Writes what is queued, marks the end, stops the threads. Blocks; not to be called from a callback.
    ///
    /// Call once. Afterwards ``DataDirectory/close()`` may be called.
    public func close() {
        queue.withLock { $0.isClosing = true }
        queue.notify()
        maintenance.withLock { $0.isStopping = true }
        maintenance.notify()
        let running = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in running { thread.join() }
    }

    // MARK: The writer's thread

    private enum Work {
        case batches([WriteBatch], bytes: Int)
        case idle
        case end
        case stop
    }

    private func write(_ callbacks: Callbacks, now: @Sendable () -> Instant) {
        do throws(StorageError) {
            var isMarked = true
            while true {
                switch nextWork(isMarked: isMarked) {
                case .batches(let batches, let bytes):
                    try write(batches, callbacks, now: now)
                    finished(bytes)
                    isMarked = false
                case .idle:
                    try end.log.writeIdleMark()
                    isMarked = true
                case .end:
                    try end.log.close()
                    return
                case .stop: return
                }
            }
        } catch {
            fail(error, callbacks)
        }
    }

    /// Reports the first failure and lets nothing come after it.
    private func fail(_ error: StorageError, _ callbacks: Callbacks) {
        let isFirst = queue.withLock { queue in
            defer {
                queue.hasFailed = true
                queue.batches = []
            }
            return !queue.hasFailed
        }
        queue.notify()
        if isFirst { callbacks.onFailure(error) }
    }

    private func write(_ batches: [WriteBatch], _ callbacks: Callbacks, now: @Sendable () -> Instant)
        throws(StorageError)
    {
        var started = now()
        var first = 0
        let segment = end.log.activeSegment
        try end.log.write(batches) { end in
            guard !queue.withLock({ $0.hasFailed }) else { return }
            callbacks.onDurable(batches[end - 1].sequence)
            let ended = now()
            metrics.syncDuration.recordNanoseconds((ended - started).nanoseconds)
            metrics.groupBatches.record(end - first)
            started = ended
            first = end
        }
        let (durableThrough, activeSegment) = (end.log.durableThrough, end.log.activeSegment)
        queue.withLock { queue in
            queue.durableThrough = durableThrough
            queue.activeSegment = activeSegment
        }
        if activeSegment != segment || end.log.pool.wantsWork { askForMaintenance() }
    }

    private func askForMaintenance() {
        maintenance.withLock { $0.isAsked = true }
        maintenance.notify()
    }

    private func finished(_ bytes: Int) {
        let left = queue.withLock { queue in
            queue.queuedBytes -= bytes
            return queue.queuedBytes
        }
        metrics.queueBytes.record(left)
    }

    private func nextWork(isMarked: Bool) -> Work {
        let work = queue.wait(atMost: isMarked ? nil : Self.idleMarkDelay) { queue -> Work? in
            queue.isWaiting = false
            if queue.hasFailed { return .stop }
            if !queue.batches.isEmpty {
                var taken: [WriteBatch] = []
                taken.reserveCapacity(queue.batches.count)
                swap(&taken, &queue.batches)
                return .batches(taken, bytes: queue.queuedBytes)
            }
            if queue.isClosing { return .end }
            queue.isWaiting = true
            return nil
        }
        return work ?? .idle
    }

    // MARK: The maintenance thread

    private func maintain(_ callbacks: Callbacks) {
        var hasSpace = true
        while true {
            let isStopping = maintenance.wait(atMost: Self.maintenanceInterval) { state -> Bool? in
                if state.isStopping { return true }
                guard state.isAsked else { return nil }
                state.isAsked = false
                return false
            }
            if isStopping == true { return }
            do throws(StorageError) {
                // Tried again; the writer fails when it needs the segment before that works.
                let refusal = try end.log.pool.maintain(pause: { [maintenance] in
                    _ = maintenance.wait(atMost: Self.fillPause) { $0.isStopping ? true : nil }
                })
                if hasSpace != (refusal == nil) { callbacks.onSpaceReserved(refusal) }
                hasSpace = refusal == nil
            } catch {
                fail(error, callbacks)
                return
            }
            metrics.spareSegments.record(end.log.pool.preparedCount)
            metrics.outOfSpace.record(hasSpace ? 0 : 1)
            updateMetadata(callbacks)
        }
    }

    private func updateMetadata(_ callbacks: Callbacks) {
        let (durableThrough, activeSegment, overflowBytes) = queue.withLock {
            ($0.durableThrough, $0.activeSegment, $0.hasOverflowed ? $0.queuedBytes : nil)
        }
        do throws(StorageError) {
            if let overflowBytes {
                throw StorageError(
                    .queueOverflow, "\(overflowBytes) bytes wait for the disk, more than \(options.maximumQueueBytes)",
                    path: end.log.pool.directory)
            }
            try end.metadata.update(durableThrough: durableThrough, activeSegment: activeSegment)
        } catch {
            fail(error, callbacks)
        }
    }
}
