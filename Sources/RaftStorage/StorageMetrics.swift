internal import Metrics

/// What the log measures.
struct StorageMetrics: Sendable {
    /// Nanoseconds of one group's write and sync.
    let syncDuration = Timer(label: "log.sync.duration")
    /// Batches in one group.
    let groupBatches = Recorder(label: "log.group.batches")
    /// Bytes handed over and not yet durable; bounded by ``StorageOptions/maximumQueueBytes``.
    let queueBytes = Gauge(label: "log.queue.bytes")
    /// Segments ready for use; zero means that the next roll waits.
    let spareSegments = Gauge(label: "log.segments.spare")
    /// One while no spare segment can be prepared for lack of space.
    let outOfSpace = Gauge(label: "log.space.exhausted")
}
