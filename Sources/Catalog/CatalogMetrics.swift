internal import Metrics

/// What the projector counts.
struct CatalogMetrics: Sendable {
    /// Records stored by this node.
    let recordsWritten = Counter(label: "catalog.records.written")
    /// Records of one transaction.
    let batchRecords = Recorder(label: "catalog.batch.records")
    /// From reading a batch to its commit.
    let writeDuration = Timer(label: "catalog.write.duration")
    /// Attempts that failed.
    let failures = Counter(label: "catalog.failures")
    /// Records that PostgreSQL refused and that are stored without their text.
    let recordsReduced = Counter(label: "catalog.records.reduced")
    /// 1 while the catalog is degraded.
    let degraded = Gauge(label: "catalog.degraded")
}
