/// Counts of durations in buckets that are at most 1/128 wide, relative to what they hold.
///
/// A bucket is an exponent and the seven bits after the leading one, so recording is a shift and an addition, and two
/// histograms merge exactly. Reported percentiles are the upper end of their bucket: never better than the truth, and
/// at most 0.8 % worse.
package struct Histogram: Equatable, Sendable {
    private static let mantissaBits = 7
    private static let mantissas = 1 << mantissaBits
    /// Values below twice the mantissas have a bucket each; the largest exponent left is 63 - 7.
    private static let bucketCount = (64 - mantissaBits + 1) * mantissas

    private var counts = [UInt64](repeating: 0, count: Self.bucketCount)
    package private(set) var count: UInt64 = 0
    package private(set) var largest: UInt64 = 0
    private var sum: Double = 0

    package init() {}

    package mutating func record(nanoseconds: UInt64) {
        counts[Self.bucket(of: nanoseconds)] += 1
        count += 1
        largest = max(largest, nanoseconds)
        sum += Double(nanoseconds)
    }

    package mutating func merge(_ other: Histogram) {
        for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
        count += other.count
        largest = max(largest, other.largest)
        sum += other.sum
    }

    var meanNanoseconds: Double { count == 0 ? 0 : sum / Double(count) }

    /// The duration that `quantile` (0...1) of the recorded ones do not exceed; 0 when nothing was recorded.
    package func nanoseconds(at quantile: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((quantile * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, inBucket) in counts.enumerated() {
            seen += inBucket
            if seen >= wanted { return min(Self.upperEnd(of: bucket), largest) }
        }
        return largest
    }

    private static func bucket(of value: UInt64) -> Int {
        guard value >= UInt64(2 * mantissas) else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount - mantissaBits
        return exponent * mantissas + Int(value >> UInt64(exponent))
    }

    private static func upperEnd(of bucket: Int) -> UInt64 {
        guard bucket >= 2 * mantissas else { return UInt64(bucket) }
        let exponent = bucket / mantissas - 1
        let mantissa = UInt64(bucket - exponent * mantissas)
        return (mantissa << UInt64(exponent)) | ((1 << UInt64(exponent)) - 1)
    }
}

extension Histogram {
    /// Percentiles in microseconds.
    var json: JSON {
        .fields([
            "count": .unsigned(count),
            "mean_us": .rounded(meanNanoseconds / 1000),
            "p50_us": .rounded(Double(nanoseconds(at: 0.50)) / 1000),
            "p90_us": .rounded(Double(nanoseconds(at: 0.90)) / 1000),
            "p99_us": .rounded(Double(nanoseconds(at: 0.99)) / 1000),
            "p999_us": .rounded(Double(nanoseconds(at: 0.999)) / 1000),
            "max_us": .rounded(Double(largest) / 1000),
        ])
    }

    var text: String {
        let values = [("p50", 0.50), ("p90", 0.90), ("p99", 0.99), ("p99.9", 0.999)].map { name, quantile in
            "\(name) \(Self.readable(nanoseconds(at: quantile)))"
        }
        return (values + ["max \(Self.readable(largest))"]).joined(separator: "  ")
    }

    static func readable(_ nanoseconds: UInt64) -> String {
        switch nanoseconds {
        case ..<1_000_000: "\(Double(nanoseconds / 100) / 10) µs"
        case ..<1_000_000_000: "\(Double(nanoseconds / 10_000) / 100) ms"
        default: "\(Double(nanoseconds / 10_000_000) / 100) s"
        }
    }
}
