public import CacheCore
internal import Synchronization

/// Rules of eviction that the program was built with, by name: `custom:NAME` in the settings. One is there from the beginning,
/// ``CacheCore/EvictionScorer/sampledCost``.
public enum ScorerRegistry {
    private static let scorers = Mutex([EvictionScorer.sampledCost.name: EvictionScorer.sampledCost])

    /// Before the node starts; a scorer of the same name is replaced.
    public static func register(_ scorer: EvictionScorer) {
        scorers.withLock { $0[scorer.name] = scorer }
    }

    /// What the settings may say, in the order of a list for people.
    public static var names: [String] {
        EvictionPolicy.named.map(\.description) + scorers.withLock { $0.keys.sorted().map { "custom:\($0)" } }
    }

    /// Reads a policy as it is written in the settings: one of ``EvictionPolicy/named`` or `custom:NAME`.
    public static func policy(named name: String) -> EvictionPolicy? {
        guard name.hasPrefix("custom:") else { return EvictionPolicy(named: name) }
        return scorers.withLock { $0[String(name.dropFirst("custom:".count))] }.map { .custom($0) }
    }
}

extension EvictionScorer {
    /// Uses × cost of making ÷ bytes, and the less the longer ago it was admitted: what `cost` does exactly in a heap, by sampling.
    public static let sampledCost = EvictionScorer(name: "sampled_cost") { entry in
        Double(entry.uses) * Double(max(1, entry.costMilliseconds)) / Double(max(1, entry.bytes))
            / Double(1 + entry.age)
    }
}
