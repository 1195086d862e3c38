internal import Metrics

/// What the client counts, by the application that it names itself to the server: a process may have several clients.
struct PostgreSQLMetrics: Sendable {
    /// Connections that are up.
    let connections: Gauge
    /// Attempts to connect that failed.
    let connectFailures: Counter
    /// Connections that broke, or were closed because nobody waited for their batch any more.
    let connectionsLost: Counter
    /// Requests that wait or are in flight, against `maximumRequests`.
    let requests: Gauge
    /// Requests per batch.
    let batchRequests: Recorder
    /// From the first byte sent until the commit is known.
    let batchDuration: Timer
    /// Batches repeated one request at a time, because one of them failed.
    let batchesSeparated: Counter
    /// Requests refused by the server.
    let failures: Counter
    /// Requests whose deadline passed.
    let deadlinesExceeded: Counter
    /// Requests refused because too much waits already.
    let overloads: Counter

    init(application: String) {
        let dimensions = [("application", application)]
        connections = Gauge(label: "postgresql.connections", dimensions: dimensions)
        connectFailures = Counter(label: "postgresql.connect.failures", dimensions: dimensions)
        connectionsLost = Counter(label: "postgresql.connections.lost", dimensions: dimensions)
        requests = Gauge(label: "postgresql.requests", dimensions: dimensions)
        batchRequests = Recorder(label: "postgresql.batch.requests", dimensions: dimensions)
        batchDuration = Timer(label: "postgresql.batch.duration", dimensions: dimensions)
        batchesSeparated = Counter(label: "postgresql.batches.separated", dimensions: dimensions)
        failures = Counter(label: "postgresql.failures", dimensions: dimensions)
        deadlinesExceeded = Counter(label: "postgresql.deadlines.exceeded", dimensions: dimensions)
        overloads = Counter(label: "postgresql.overloads", dimensions: dimensions)
    }
}
