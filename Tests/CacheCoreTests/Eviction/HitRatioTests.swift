import CacheCore
import Testing

/// Hit ratios under independent requests with Zipf's distribution, as studies publish them: half a million requests are
/// counted after as many that fill the cache.
struct HitRatioTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var keys: Int
        var exponent: Double
        var capacity: Int
        /// In percent.
        var fifo: Double
        var lru: Double
        var clock: Double
        var s3fifo: Double
        var sieve: Double

        var testDescription: String { "\(keys) keys, α = \(exponent), \(capacity) entries" }

        var expected: [(EvictionPolicy, percent: Double, tolerance: Double)] {
            [
                (.fifo, fifo, 0.3), (.lru, lru, 0.3), (.clock, clock, 1), (.s3fifo, s3fifo, 1), (.sieve, sieve, 1),
            ]
        }
    }

    static let rows = [
        Row(keys: 10_000, exponent: 0.9, capacity: 1000, fifo: 51.0, lru: 55.6, clock: 56.9, s3fifo: 63.5, sieve: 64.7),
        Row(keys: 10_000, exponent: 1.0, capacity: 100, fifo: 34.3, lru: 39.1, clock: 40.5, s3fifo: 50.7, sieve: 51.1),
        Row(keys: 10_000, exponent: 1.0, capacity: 1000, fifo: 63.1, lru: 67.5, clock: 68.6, s3fifo: 73.7, sieve: 74.3),
        Row(
            keys: 100_000, exponent: 1.0, capacity: 1000, fifo: 46.5, lru: 50.7, clock: 51.8, s3fifo: 60.0, sieve: 60.4),
        Row(
            keys: 100_000, exponent: 1.0, capacity: 10_000, fifo: 70.1, lru: 73.7, clock: 74.5, s3fifo: 78.4,
            sieve: 78.3),
        Row(
            keys: 100_000, exponent: 1.2, capacity: 1000, fifo: 76.3, lru: 79.5, clock: 80.2, s3fifo: 84.0, sieve: 84.3),
        Row(
            keys: 100_000, exponent: 1.2, capacity: 10_000, fifo: 89.9, lru: 91.7, clock: 92.0, s3fifo: 93.2,
            sieve: 93.2),
    ]

    @Test(arguments: rows)
    func `policies hit as often as published`(row: Row) {
        let keys = ZipfKeys(count: row.keys, exponent: row.exponent)
        let bound = keys.topHitRatio(capacity: row.capacity) * 100
        for (policy, expected, tolerance) in row.expected {
            let measured = Self.percent(policy, keys, capacity: row.capacity)
            #expect(abs(measured - expected) <= tolerance, "\(policy): \(measured) instead of \(expected)")
            #expect(measured < bound + 0.2, "\(policy): \(measured) is above what is possible")
            switch policy {
            case .lru: #expect(abs(measured - keys.lruHitRatio(capacity: row.capacity) * 100) < 0.3)
            case .fifo: #expect(abs(measured - keys.fifoHitRatio(capacity: row.capacity) * 100) < 0.3)
            case .s3fifo, .lfu, .sieve, .clock, .cost, .custom: break
            }
        }
    }

    @Test func `LFU and the cost score come near the bound when requests are independent`() {
        let keys = ZipfKeys(count: 10_000, exponent: 1)
        for policy in [EvictionPolicy.lfu, .cost] {
            let measured = Self.percent(policy, keys, capacity: 1000)
            #expect((73.0...76.5).contains(measured), "\(policy): \(measured)")
        }
    }

    private static func percent(_ policy: EvictionPolicy, _ keys: ZipfKeys, capacity: Int) -> Double {
        var model = CacheModel(policy: policy, capacity: UInt64(capacity))
        var generator = SplitMix64(seed: 1)
        for _ in 0..<500_000 { model.request(CacheRequest(key: keys.next(&generator))) }
        model.resetCounts()
        for _ in 0..<500_000 { model.request(CacheRequest(key: keys.next(&generator))) }
        return model.counts.hitRatio * 100
    }

    // MARK: Other shapes

    /// The hit ratio of the 200,000 requests behind a walk over 100,000 cold keys, less that without the walk, in points.
    private static func lossByScan(_ policy: EvictionPolicy) -> Double {
        func measure(_ shape: Workload.Shape) -> Double {
            var workload = Workload(shape, keys: 100_000, exponent: 1, seed: 9)
            var model = CacheModel(policy: policy, capacity: 5000)
            let warmUp = shape == .zipf ? 400_000 : 500_000
            for _ in 0..<warmUp { model.request(workload.next()) }
            model.resetCounts()
            for _ in 0..<200_000 { model.request(workload.next()) }
            return model.counts.hitRatio * 100
        }
        return measure(.zipf) - measure(.scan(from: 400_000, count: 100_000))
    }

    @Test func `a walk over cold keys costs LRU half a point and S3-FIFO and SIEVE almost nothing`() {
        #expect((0.3...0.8).contains(Self.lossByScan(.lru)))
        #expect(Self.lossByScan(.s3fifo) < 0.15)
        #expect(Self.lossByScan(.sieve) < 0.15)
    }

    @Test func `a loop somewhat longer than the cache defeats LRU and FIFO`() {
        for policy in EvictionPolicy.named {
            var workload = Workload(.loop, keys: 1100, exponent: 1, seed: 1)
            var model = CacheModel(policy: policy, capacity: 1000)
            for _ in 0..<20 * 1100 { model.request(workload.next()) }
            switch policy {
            case .lru, .fifo, .clock: #expect(model.counts.hits == 0, "\(policy)")
            case .s3fifo, .lfu, .sieve, .cost, .custom: break
            }
        }
    }

    @Test func `with new keys coming all the time nobody clings to old ones`() {
        var ratios: [String: Double] = [:]
        for policy in EvictionPolicy.named {
            var workload = Workload(.churn, keys: 10_000, exponent: 1, seed: 4)
            var model = CacheModel(policy: policy, capacity: 1000)
            for _ in 0..<500_000 { model.request(workload.next()) }
            model.resetCounts()
            for _ in 0..<500_000 { model.request(workload.next()) }
            ratios[policy.description] = model.counts.hitRatio * 100
        }
        // Two of a hundred keys per 10,000 requests cost every policy little; clinging would cost half of all hits.
        for (policy, ratio) in ratios { #expect(ratio > (policy == "fifo" ? 60 : 64), "\(policy): \(ratio)") }
        #expect(ratios["s3fifo"]! > ratios["lru"]! + 3)
    }

    @Test func `with sizes and costs the cost score keeps what is expensive`() {
        var counts: [String: HitCounts] = [:]
        for policy in EvictionPolicy.named {
            var workload = Workload(.zipf, keys: 10_000, exponent: 0.9, isSized: true, seed: 6)
            var model = CacheModel(policy: policy, capacity: workload.bytes / 10)
            for _ in 0..<200_000 { model.request(workload.next()) }
            model.resetCounts()
            for _ in 0..<200_000 { model.request(workload.next()) }
            counts[policy.description] = model.counts
        }
        let cost = counts["cost"]!.costHitRatio
        for policy in EvictionPolicy.named.map(\.description) where policy != "cost" {
            #expect(cost > counts[policy]!.costHitRatio, "\(policy)")
        }
        #expect(counts["s3fifo"]!.hitRatio > counts["lru"]!.hitRatio)
    }
}
