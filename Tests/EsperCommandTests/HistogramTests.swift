import Testing
import esper

struct HistogramTests {
    @Test(arguments: [1 as UInt64, 2, 3])
    func `percentiles are never better than the truth and at most a hundredth worse`(
        seed: UInt64
    ) {
        var random = SplitMix(seed: seed)
        var histogram = Histogram()
        var values: [UInt64] = []
        for _ in 0..<20_000 {
            // From nanoseconds to minutes, evenly over the orders of magnitude.
            let value = random.next() >> UInt64.random(in: 28...63, using: &random)
            values.append(value)
            histogram.record(nanoseconds: value)
        }
        values.sort()
        for quantile in [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1] {
            let truth = values[max(0, Int((quantile * Double(values.count)).rounded(.up)) - 1)]
            let found = histogram.nanoseconds(at: quantile)
            #expect(found >= truth)
            #expect(Double(found) <= Double(truth) * 1.008 + 1)
        }
        #expect(histogram.count == 20_000)
        #expect(histogram.largest == values.last)
    }

    @Test func `merging is the same as recording together`() {
        var random = SplitMix(seed: 9)
        var parts = [Histogram(), Histogram()]
        var whole = Histogram()
        for number in 0..<1000 {
            let value = random.next() >> 40
            parts[number % 2].record(nanoseconds: value)
            whole.record(nanoseconds: value)
        }
        parts[0].merge(parts[1])
        #expect(parts[0].nanoseconds(at: 0.5) == whole.nanoseconds(at: 0.5))
        #expect(parts[0].count == whole.count)
    }

    @Test func `the largest value has a bucket, and nothing recorded is nothing`() {
        var histogram = Histogram()
        #expect(histogram.nanoseconds(at: 0.99) == 0)
        histogram.record(nanoseconds: .max)
        #expect(histogram.nanoseconds(at: 0.5) == .max)
    }
}
