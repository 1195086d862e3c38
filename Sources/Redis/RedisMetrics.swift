internal import Metrics

/// What the client counts.
struct RedisMetrics: Sendable {
    /// Connections that are up, against `maximumConnections` per server.
    let connections = Meter(label: "redis.connections")
    /// Attempts to connect that failed.
    let connectFailures = Counter(label: "redis.connect.failures")
    /// Connections that broke, or were closed for an answer that was wrong or did not come.
    let connectionsLost = Counter(label: "redis.connections.lost")
    /// Requests that wait or are in flight, against `maximumRequests` per server.
    let requests = Meter(label: "redis.requests")
    /// From the first byte sent until the last answer.
    let requestDuration = Timer(label: "redis.request.duration")
    /// Requests whose deadline passed.
    let deadlinesExceeded = Counter(label: "redis.deadlines.exceeded")
    /// Requests refused because too much waits already.
    let overloads = Counter(label: "redis.overloads")
    /// Commands that a cluster sent elsewhere.
    let redirects = Counter(label: "redis.redirects")
}
