/// The keys that several ranges cover together.
package struct KeyCoverage: Hashable, Sendable {
    /// From `lower` up to, and without, `upper`; nil goes on to the last key.
    struct Interval: Hashable, Sendable {
        var lower: [UInt8]
        var upper: [UInt8]?

        init(_ range: KeyRange) {
            lower = range.lower
            switch range.end {
            // Nothing lies between a key and the same with a zero behind it.
            case .single: upper = range.lower + [0]
            case .before(let end): upper = end
            case .unbounded: upper = nil
            }
        }

        func reaches(_ key: [UInt8]) -> Bool { upper.map { !$0.precedes(key) } ?? true }
    }

    /// In order; no two touch.
    private(set) var intervals: [Interval] = []

    package init(_ ranges: some Sequence<KeyRange>) { merge(ranges.filter { !$0.isEmpty }.map(Interval.init)) }

    package init(union coverages: [KeyCoverage]) { merge(coverages.flatMap(\.intervals)) }

    /// Whether every key that could be in the range is covered. O(log n) comparisons.
    package func covers(_ range: KeyRange) -> Bool {
        let wanted = Interval(range)
        var (low, high) = (0, intervals.count)
        // The last that begins at or before the range.
        while low < high {
            let middle = (low + high) / 2
            if wanted.lower.precedes(intervals[middle].lower) { high = middle } else { low = middle + 1 }
        }
        guard low > 0 else { return false }
        guard let end = wanted.upper else { return intervals[low - 1].upper == nil }
        return intervals[low - 1].reaches(end)
    }

    private mutating func merge(_ found: [Interval]) {
        for interval in found.sorted(by: { $0.lower.precedes($1.lower) }) {
            guard let last = intervals.last, last.reaches(interval.lower) else {
                intervals.append(interval)
                continue
            }
            guard let end = last.upper else { return }
            if let further = interval.upper, !end.precedes(further) { continue }
            intervals[intervals.count - 1].upper = interval.upper
        }
    }
}
