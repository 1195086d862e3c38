import CacheCore
import EsperTypes

/// By what a node acts as the map of shards says that it has applied: coordinates, takes blobs as a member, answers for a shard
/// that moves, and frees copies.
///
/// The leader gives it in the answer to a report; see ``LeaseBook`` for what makes it safe.
struct NodeLease: Hashable, Sendable {
    /// On the node's own clock, counted from before it asked.
    var until: Instant
    /// The map that must be applied first: nobody was told of a newer one before the lease was given.
    var base: MapEpoch

    func holds(at now: Instant, map: MapEpoch) -> Bool { now < until && map >= base }
}
