import CacheCore
import EsperTypes
import Metrics

/// What moves of shards cost, as this node sees them.
struct RebalanceMetrics: Sendable {
    /// Moves in each step, of the whole cluster.
    private let moves = ShardMap.Step.allCases.filter { $0 != .stable }.map {
        (step: $0, gauge: Gauge(label: "esper_cache_moves", dimensions: [("step", $0.name)]))
    }
    /// Shards whose members may lack what a former member has.
    private let strayed = Gauge(label: "esper_cache_shards_with_strays")
    /// Seconds since this node has known the oldest move that has not ended.
    private let age = Gauge(label: "esper_cache_move_age_seconds")
    /// How long a shard that flipped had no coordinator, as the maps told that this node applied.
    let flips = Timer(label: "esper_cache_flip_duration")
    /// Bytes that this node has copied for moves.
    let movedBytes = Counter(label: "esper_cache_moved_bytes")
    /// Blobs of shards that moved away, deleted.
    let freedBlobs = Counter(label: "esper_cache_moved_blobs_freed")
    /// Bytes a second that this node allows itself now.
    private let rate = Gauge(label: "esper_cache_move_rate_bytes")
    /// Seconds that threads of this node wait on average before they run.
    let processorWait = Gauge(label: "esper_cache_processor_wait_seconds")
    /// Bytes that were found missing and have not come yet.
    private let left = Gauge(label: "esper_cache_move_left_bytes")

    func observe(_ map: ShardMap, rate: UInt64, left: UInt64, oldest: Duration) {
        var counts: [ShardMap.Step: Int] = [:]
        for shard in map.shards { counts[shard.step, default: 0] += 1 }
        for (step, gauge) in moves { gauge.record(counts[step] ?? 0) }
        strayed.record(map.shards.count { !$0.strays.isEmpty })
        age.record(Double(oldest.nanoseconds) / 1e9)
        self.rate.record(rate)
        self.left.record(left)
    }
}
