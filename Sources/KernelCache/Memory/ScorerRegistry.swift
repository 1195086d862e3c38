public import CacheCore
internal import Synchronization

/// Rules of eviction that the program was built with, by name: `custom:NAME` in the settings.
public enum ScorerRegistry {
    private static let scorers = Mutex<[String: EvictionScorer]>([:])

    /// Before the node starts; a scorer of the same name is replaced.
    public static func register(_ scorer: EvictionScorer) {
        scorers.withLock { $0[scorer.name] = scorer }
    }

    /// Reads a policy as it is written in the settings: one of ``EvictionPolicy/named`` or `custom:NAME`.
    public static func policy(named name: String) -> EvictionPolicy? {
        guard name.hasPrefix("custom:") else { return EvictionPolicy(named: name) }
        return scorers.withLock { $0[String(name.dropFirst("custom:".count))] }.map { .custom($0) }
    }
}
