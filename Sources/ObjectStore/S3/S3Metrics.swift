internal import Metrics

struct S3Metrics: Sendable {
    /// Attempts after the first.
    let retries = Counter(label: "objects.s3.retries")
    /// Large objects that were given up half-way.
    let aborted = Counter(label: "objects.s3.uploads.aborted")
    /// Open, busy or not.
    let connections = Gauge(label: "objects.s3.connections")
}
