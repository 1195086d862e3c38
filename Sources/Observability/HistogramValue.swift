internal import Metrics
internal import Synchronization

/// Counts observations in fixed buckets; one atomic addition for the bucket and one for the sum.
///
/// The total is the sum of the buckets as they are read, so `_count` and the `+Inf` bucket of one answer always agree;
/// the sum may be an observation ahead or behind.
final class HistogramValue: RecorderHandler, TimerHandler, Exposed {
    /// Seconds: 10 µs (a warm sync) to 10 s (longer than any deadline), about 2.5 times apart.
    static let durationBounds: [Double] = [
        0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
        0.25, 0.5, 1, 2.5, 5, 10,
    ]

    /// Sizes and counts: powers of four from 1 to 4^15, about a billion.
    static let sizeBounds: [Double] = (0...15).map { Double(1 << (2 * $0)) }

    private let bounds: [Double]
    /// One more than `bounds`: the last takes what is above all of them.
    ///
    /// Safe to share: the pointer is constant, what it points to are atomics, and they live until `deinit`.
    nonisolated(unsafe) private let buckets: UnsafeMutablePointer<Atomic<UInt64>>
    private let sum = AtomicDouble()

    /// - Parameter bounds: upper bounds, inclusive, ascending.
    init(bounds: [Double]) {
        self.bounds = bounds
        buckets = .allocate(capacity: bounds.count + 1)
        for index in 0...bounds.count { (buckets + index).initialize(to: Atomic(0)) }
    }

    deinit {
        buckets.deinitialize(count: bounds.count + 1)
        buckets.deallocate()
    }

    func record(_ value: Int64) { observe(Double(value)) }

    func record(_ value: Double) { observe(value) }

    /// Timers are exposed in seconds, Prometheus's base unit.
    func recordNanoseconds(_ duration: Int64) { observe(Double(duration) / 1e9) }

    private func observe(_ value: Double) {
        guard !value.isNaN else { return }
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if value <= bounds[middle] { high = middle } else { low = middle + 1 }
        }
        buckets[low].wrappingAdd(1, ordering: .relaxed)
        sum.add(value)
    }

    func expose(name: String, labels: String, into output: inout String) {
        let separator = labels.isEmpty ? "" : ","
        var total: UInt64 = 0
        for index in 0...bounds.count {
            total += buckets[index].load(ordering: .relaxed)
            let bound = index == bounds.count ? "+Inf" : formatted(bounds[index])
            appendSample(name + "_bucket", "\(labels)\(separator)le=\"\(bound)\"", String(total), to: &output)
        }
        appendSample(name + "_sum", labels, formatted(sum.value), to: &output)
        appendSample(name + "_count", labels, String(total), to: &output)
    }
}
