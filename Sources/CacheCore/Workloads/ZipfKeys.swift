/// Keys 1 ... count, of which k is drawn with a probability proportional to k^-exponent.
///
/// Cumulative weights and a binary search on a uniform number: the same keys for the same seed on every machine.
public struct ZipfKeys: Sendable {
    /// Up to and with each key; the last is the sum of all weights.
    private let cumulative: [Double]

    /// - Parameter count: above zero.
    public init(count: Int, exponent: Double) {
        precondition(count > 0, "a Zipf distribution needs a key")
        var sum = 0.0
        cumulative = (1...count).map { key in
            sum += zipfWeight(key, exponent)
            return sum
        }
    }

    public var count: Int { cumulative.count }

    public func next(_ generator: inout SplitMix64) -> UInt64 {
        let wanted = generator.uniform() * cumulative[cumulative.count - 1]
        return cumulative.withUnsafeBufferPointer { cumulative in
            var low = 0
            var high = cumulative.count - 1
            while low < high {
                let middle = (low + high) / 2
                if cumulative[middle] > wanted { high = middle } else { low = middle + 1 }
            }
            return UInt64(low + 1)
        }
    }

    /// The probability of a key.
    public func probability(of key: Int) -> Double {
        let below = key == 1 ? 0 : cumulative[key - 2]
        return (cumulative[key - 1] - below) / cumulative[cumulative.count - 1]
    }

    // MARK: Closed forms, for caches of `capacity` entries of one size

    /// The share of requests that a cache of always the most likely keys would answer: an upper bound for every policy that
    /// cannot see ahead, when requests are independent.
    public func topHitRatio(capacity: Int) -> Double {
        cumulative[min(capacity, count) - 1] / cumulative[count - 1]
    }

    /// LRU by Che's approximation: an entry is there when it was asked for within a time T, the same for all, such that the
    /// expected number of entries is the capacity. Source: Che, Tung, Wang (IEEE JSAC 2002).
    public func lruHitRatio(capacity: Int) -> Double { hitRatio(capacity) { rate, time in -expMinusOne(-rate * time) } }

    /// FIFO by the same reasoning: an entry stays for T after each miss, so it is there for xT / (1 + xT) of the time.
    public func fifoHitRatio(capacity: Int) -> Double {
        hitRatio(capacity) { rate, time in rate * time / (1 + rate * time) }
    }

    private func hitRatio(_ capacity: Int, _ presence: (Double, Double) -> Double) -> Double {
        guard capacity < count else { return 1 }
        let rates = (1...count).map { probability(of: $0) }
        var low = 0.0
        var high = 1.0
        while rates.reduce(0, { $0 + presence($1, high) }) < Double(capacity) { high *= 2 }
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if rates.reduce(0, { $0 + presence($1, middle) }) < Double(capacity) { low = middle } else { high = middle }
        }
        return rates.reduce(0) { $0 + $1 * presence($1, high) }
    }
}
