/// What happened to a sampled key.
public struct ShadowSample: Hashable, Sendable {
    public enum Kind: UInt8, Hashable, Sendable {
        /// Asked for and there.
        case found
        /// Asked for and not there; how large it is, is not known yet.
        case missed
        /// Put, often after it was missed.
        case put
    }

    public var key: UInt64
    public var kind: Kind
    public var bytes: UInt32
    public var costMilliseconds: UInt32

    public init(key: UInt64, kind: Kind, bytes: UInt32 = 0, costMilliseconds: UInt32 = 0) {
        self.key = key
        self.kind = kind
        self.bytes = bytes
        self.costMilliseconds = costMilliseconds
    }
}

/// What other policies would have done: small caches without values that see one key of 64 and have one byte of 64, so that
/// their hit ratios are those of full ones, but for chance.
public struct ShadowCaches: Sendable {
    public static let samplingRatio: UInt64 = 64
    public static let policies: [EvictionPolicy] = [.lru, .lfu, .s3fifo, .sieve]

    private var models: [CacheModel]
    /// Missed, and not put yet: their size is counted when it is known.
    private var awaited: Set<UInt64> = []

    /// - Parameter limit: of the full cache, in bytes.
    public init(limit: UInt64) {
        models = Self.policies.map { CacheModel(policy: $0, capacity: max(1, limit / Self.samplingRatio)) }
    }

    /// Per policy.
    public var counts: [(policy: EvictionPolicy, counts: HitCounts)] {
        models.map { ($0.engine.policy, $0.counts) }
    }

    public mutating func apply(_ samples: [ShadowSample]) {
        for sample in samples {
            let request = CacheRequest(
                key: sample.key, bytes: sample.bytes, costMilliseconds: sample.costMilliseconds)
            switch sample.kind {
            case .found:
                for position in models.indices { models[position].request(request) }
            case .missed:
                if awaited.count < 4096 { awaited.insert(sample.key) }
                for position in models.indices { models[position].requestUnknown(sample.key) }
            case .put:
                let isAnswer = awaited.remove(sample.key) != nil
                for position in models.indices { models[position].answer(request, countsMiss: isAnswer) }
            }
        }
    }
}
