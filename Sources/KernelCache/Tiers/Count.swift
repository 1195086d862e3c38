import Metrics
import Synchronization

/// A number that only grows: for statistics, and as a metric when it has a label.
final class Count: Sendable {
    private let value = Atomic<UInt64>(0)
    private let counter: Counter?

    init(_ label: String? = nil, _ dimensions: [(String, String)] = []) {
        counter = label.map { Counter(label: $0, dimensions: dimensions) }
    }

    func add(_ count: UInt64 = 1) {
        value.add(count, ordering: .relaxed)
        counter?.increment(by: Int64(clamping: count))
    }

    var current: UInt64 { value.load(ordering: .relaxed) }
}
