import Metrics
import Synchronization

/// What a loop counts by itself, and hands over a few times a second.
struct DoorCounts: Sendable {
    var connections = 0
    var commands = 0
    var hits = 0
    var misses = 0
    var errors = 0
    var readBytes = 0
    var writtenBytes = 0

    mutating func add(_ other: DoorCounts) {
        connections += other.connections
        commands += other.commands
        hits += other.hits
        misses += other.misses
        errors += other.errors
        readBytes += other.readBytes
        writtenBytes += other.writtenBytes
    }
}

/// Sums over all loops since the start.
final class DoorTotals: Sendable {
    private struct State {
        var counts = DoorCounts()
        var open = 0
        var refused = 0
    }

    private let state = Mutex(State())
    private let lastConnection = Atomic<UInt64>(0)

    var counts: DoorCounts { state.withLock { $0.counts } }
    var openConnections: Int { state.withLock { $0.open } }
    var refusedConnections: Int { state.withLock { $0.refused } }

    func add(_ counts: DoorCounts) { state.withLock { $0.counts.add(counts) } }

    /// False when there are `limit` already.
    func opened(atMost limit: Int) -> Bool {
        state.withLock { state in
            guard state.open < limit else {
                state.refused += 1
                return false
            }
            state.open += 1
            return true
        }
    }

    func closed() { state.withLock { $0.open -= 1 } }

    func nextConnection() -> UInt64 { lastConnection.add(1, ordering: .relaxed).newValue }
}

/// What a Redis door counts.
struct RedisDoorMetrics: Sendable {
    /// Commands executed, those within transactions included.
    let commands = Metrics.Counter(label: "esper_cache_redis_commands")
    /// Reads of single values that were answered at once from this node.
    let hits = Metrics.Counter(label: "esper_cache_redis_hits")
    let misses = Metrics.Counter(label: "esper_cache_redis_misses")
    /// Error answers.
    let errors = Metrics.Counter(label: "esper_cache_redis_errors")
    let readBytes = Metrics.Counter(label: "esper_cache_redis_read_bytes")
    let writtenBytes = Metrics.Counter(label: "esper_cache_redis_written_bytes")
    let connections = Gauge(label: "esper_cache_redis_connections")
    /// Values on their way in or out.
    let valueBytes = Gauge(label: "esper_cache_redis_value_bytes")
    let refusedConnections = Metrics.Counter(label: "esper_cache_redis_connections_refused")
    /// Keys remembered for clients that keep copies.
    let trackedKeys = Gauge(label: "esper_cache_redis_tracked_keys")
    let invalidations = Metrics.Counter(label: "esper_cache_redis_invalidations")

    private static let labelOfUnkept = "esper_cache_redis_unkept"
    private static let labelOfClosed = "esper_cache_redis_connections_closed"

    /// Writes answered with `+OK` that were not kept, by the reason.
    func unkept(_ reason: String) {
        Metrics.Counter(label: Self.labelOfUnkept, dimensions: [("reason", reason)]).increment()
    }

    /// Connections that the door closed, by the reason: `late`, `unread`, `pushes`, `protocol`, `memory`, `stopping`.
    func closed(_ reason: String) {
        Metrics.Counter(label: Self.labelOfClosed, dimensions: [("reason", reason)]).increment()
    }

    func record(_ counts: DoorCounts) {
        commands.increment(by: counts.commands)
        hits.increment(by: counts.hits)
        misses.increment(by: counts.misses)
        errors.increment(by: counts.errors)
        readBytes.increment(by: counts.readBytes)
        writtenBytes.increment(by: counts.writtenBytes)
    }
}
