import CacheCore
import Testing

struct WorkloadTests {
    @Test func `the generator gives the published numbers`() {
        var generator = SplitMix64(seed: 1_234_567)
        let expected: [UInt64] = [
            6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
        ]
        #expect(expected.map { _ in generator.next() } == expected)
    }

    @Test func `keys are drawn as often as their weights say`() {
        let keys = ZipfKeys(count: 100, exponent: 1)
        var generator = SplitMix64(seed: 3)
        var drawn = [Int](repeating: 0, count: 101)
        for _ in 0..<200_000 { drawn[Int(keys.next(&generator))] += 1 }
        for key in [1, 2, 5, 20, 100] {
            let expected = keys.probability(of: key) * 200_000
            // Five standard deviations.
            #expect(abs(Double(drawn[key]) - expected) < 5 * expected.squareRoot())
        }
        #expect(drawn[0] == 0)
    }

    @Test func `the closed forms are those of the published table`() {
        let keys = ZipfKeys(count: 10_000, exponent: 1)
        #expect(abs(keys.lruHitRatio(capacity: 1000) * 100 - 67.56) < 0.1)
        #expect(abs(keys.fifoHitRatio(capacity: 1000) * 100 - 63.09) < 0.1)
        #expect(abs(keys.topHitRatio(capacity: 1000) * 100 - 76.5) < 0.1)
        #expect(abs(keys.topHitRatio(capacity: 100) * 100 - 53.0) < 0.1)
    }

    /// Of a million keys: how many percent of them, kept for ever, answer 95 % of all requests.
    @Test(arguments: [(0.8, 78.5), (0.9, 67.8), (1.0, 48.7), (1.1, 22.5), (1.2, 4.8)])
    func `a cache that answers 95 of a hundred requests needs as many keys as published`(
        exponent: Double, percent: Double
    ) {
        let keys = ZipfKeys(count: 1_000_000, exponent: exponent)
        func ratio(_ percent: Double) -> Double { keys.topHitRatio(capacity: Int((percent * 10_000).rounded())) }
        #expect(ratio(percent - 0.1) < 0.95 && ratio(percent + 0.1) > 0.95, "\(ratio(percent))")
    }

    @Test func `sizes and costs are lognormal and correlated`() {
        var workload = Workload(.loop, keys: 20_000, exponent: 1, isSized: true, seed: 5)
        let requests = (0..<20_000).map { _ in workload.next() }
        let sizes = requests.map(\.bytes).sorted()
        let costs = requests.map(\.costMilliseconds).sorted()
        #expect((46_000...52_000).contains(sizes[10_000]))
        #expect((750...860).contains(costs[10_000]))
        #expect(sizes[18_000] > 4 * sizes[10_000])
        let large = requests.filter { $0.bytes > sizes[10_000] }.map(\.costMilliseconds).sorted()
        let small = requests.filter { $0.bytes <= sizes[10_000] }.map(\.costMilliseconds).sorted()
        #expect(large[large.count / 2] > small[small.count / 2])
    }
}
