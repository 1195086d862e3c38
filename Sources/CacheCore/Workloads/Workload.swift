/// Requests as published studies and our own guesses about compile caches have them; endless, from a seed.
public struct Workload: Sendable {
    public enum Shape: Hashable, Sendable {
        /// Independent requests.
        case zipf
        /// Zipf, with two of a hundred keys replaced by new ones every 10,000 requests: new builds.
        case churn
        /// Zipf, with a walk over cold keys from a request on.
        case scan(from: Int, count: Int)
        /// All keys, one after the other, again and again.
        case loop
    }

    public let shape: Shape
    private let keys: ZipfKeys
    private var generator: SplitMix64
    private let sizes: [CacheRequest]?
    private var position = 0
    /// How often each key was replaced.
    private var generations: [UInt32] = []

    /// - Parameter isSized: sizes are lognormal with a median of 48 KiB (σ 1.2), costs with one of 0.8 s (σ 1.8),
    ///   correlated by 0.3; otherwise all are 1.
    public init(_ shape: Shape, keys count: Int, exponent: Double, isSized: Bool = false, seed: UInt64) {
        self.shape = shape
        keys = ZipfKeys(count: count, exponent: exponent)
        var generator = SplitMix64(seed: seed)
        sizes =
            isSized
            ? (1...count).map { key in
                let (first, second) = normalPair(&generator)
                let costs = 0.3 * first + 0.953_939_2 * second
                return CacheRequest(
                    key: UInt64(key), bytes: UInt32(clamping: Int(49152 * exponential(1.2 * first)) + 1),
                    costMilliseconds: UInt32(clamping: Int(min(3.6e6, 800 * exponential(1.8 * costs))) + 1))
            } : nil
        self.generator = generator
        if shape == .churn { generations = [UInt32](repeating: 0, count: count) }
    }

    /// Of all keys together, as they are at the start.
    public var bytes: UInt64 { sizes?.reduce(0) { $0 + UInt64($1.bytes) } ?? UInt64(keys.count) }

    public mutating func next() -> CacheRequest {
        defer { position += 1 }
        switch shape {
        case .zipf: return request(keys.next(&generator))
        case .churn:
            if position > 0, position % 10_000 == 0 {
                for _ in 0..<keys.count / 50 {
                    generations[Int(generator.next() % UInt64(keys.count))] += 1
                }
            }
            let key = keys.next(&generator)
            var request = request(key)
            request.key |= UInt64(generations[Int(key) - 1]) << 32
            return request
        case .scan(let first, let count):
            if position >= first, position < first + count {
                return CacheRequest(key: 1 << 40 | UInt64(position), bytes: 1, costMilliseconds: 1)
            }
            return request(keys.next(&generator))
        case .loop: return request(UInt64(position % keys.count + 1))
        }
    }

    private func request(_ key: UInt64) -> CacheRequest {
        sizes?[Int(key) - 1] ?? CacheRequest(key: key)
    }
}
