internal import Metrics

/// What the client counts.
struct PostgreSQLMetrics: Sendable {
    /// Connections that are up.
    let connections = Gauge(label: "postgresql.connections")
    /// Attempts to connect that failed.
    let connectFailures = Counter(label: "postgresql.connect.failures")
    /// Connections that broke, or were closed because nobody waited for their batch any more.
    let connectionsLost = Counter(label: "postgresql.connections.lost")
    /// Requests that wait or are in flight, against `maximumRequests`.
    let requests = Gauge(label: "postgresql.requests")
    /// Requests per batch.
    let batchRequests = Recorder(label: "postgresql.batch.requests")
    /// From the first byte sent until the commit is known.
    let batchDuration = Timer(label: "postgresql.batch.duration")
    /// Batches repeated one request at a time, because one of them failed.
    let batchesSeparated = Counter(label: "postgresql.batches.separated")
    /// Requests refused by the server.
    let failures = Counter(label: "postgresql.failures")
    /// Requests whose deadline passed.
    let deadlinesExceeded = Counter(label: "postgresql.deadlines.exceeded")
    /// Requests refused because too much waits already.
    let overloads = Counter(label: "postgresql.overloads")
}
