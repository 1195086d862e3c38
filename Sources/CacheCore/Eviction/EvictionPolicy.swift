/// Which entries a full cache gives up first.
public enum EvictionPolicy: Sendable, CustomStringConvertible {
    /// A small queue of a tenth of the bytes sieves out what is used once; a main queue takes what was used again, or was
    /// let go a short while ago. The default. Source: Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023).
    case s3fifo
    /// Exactly the least recently used one.
    case lru
    /// The least often used one; what was counted long ago counts less.
    case lfu
    /// One queue and a hand that passes over what was used. Source: Zhang et al., "SIEVE is simpler than LRU" (NSDI 2024).
    case sieve
    /// The oldest one.
    case fifo
    /// The oldest one that was not used since the last visit.
    case clock
    /// The one whose uses × cost of making ÷ bytes is least, outbid by what comes later. Source: Cherkasova, "Improving WWW
    /// proxies performance with greedy-dual-size-frequency caching policy" (HPL-98-69R1).
    case cost
    /// The one that a scorer rates least, among eight old ones.
    case custom(EvictionScorer)

    /// Those that need no scorer.
    public static let named: [EvictionPolicy] = [.s3fifo, .lru, .lfu, .sieve, .fifo, .clock, .cost]

    /// A stable word.
    public var description: String {
        switch self {
        case .s3fifo: "s3fifo"
        case .lru: "lru"
        case .lfu: "lfu"
        case .sieve: "sieve"
        case .fifo: "fifo"
        case .clock: "clock"
        case .cost: "cost"
        case .custom(let scorer): "custom:\(scorer.name)"
        }
    }

    /// - Returns: Nil when `name` is not one of ``named``.
    public init?(named name: String) {
        guard let policy = Self.named.first(where: { $0.description == name }) else { return nil }
        self = policy
    }
}

/// A rule of the operator's own.
public struct EvictionScorer: Sendable {
    public var name: String
    /// How much an entry is worth: among the candidates the least goes. Called under a lock and about eight times per eviction:
    /// it must be quick, and must not call the cache.
    public var score: @Sendable (EvictionCandidate) -> Double

    public init(name: String, score: @escaping @Sendable (EvictionCandidate) -> Double) {
        self.name = name
        self.score = score
    }
}

/// What a scorer is told of an entry.
public struct EvictionCandidate: Hashable, Sendable {
    public var bytes: UInt32
    public var costMilliseconds: UInt32
    /// Since it was admitted, its admission included.
    public var uses: UInt32
    /// Admissions into the same part of the cache since it was admitted.
    public var age: UInt32

    public init(bytes: UInt32, costMilliseconds: UInt32, uses: UInt32, age: UInt32) {
        self.bytes = bytes
        self.costMilliseconds = costMilliseconds
        self.uses = uses
        self.age = age
    }
}
