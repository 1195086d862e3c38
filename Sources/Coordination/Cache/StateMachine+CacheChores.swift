public import CacheCore
import EsperTypes

extension StateMachine {
    /// What a leader has to propose next for the names of the cache: the end of bindings whose time is over, or the forgetting
    /// of tombstones that the catalog has seen. Nil: nothing is due.
    ///
    /// - Parameter now: nanoseconds since 1970, by the clock that the entry will be stamped with, or earlier.
    public func cacheChore(now: UInt64) -> CacheCommand? {
        var bytes = 0
        let expired = cache.expired(now: now, limit: CacheLimits.changesPerCommand).prefix { item in
            bytes += item.name.count + 12
            return bytes <= CacheLimits.commandBytes
        }
        if !expired.isEmpty { return .expire(Array(expired)) }
        guard let oldest = cache.oldestTombstone else { return nil }
        let settled = settledNames(at: applied.index)
        return oldest <= settled ? .forgetTombstones(through: settled) : nil
    }
}
