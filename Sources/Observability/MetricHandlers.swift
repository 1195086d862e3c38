internal import Metrics
internal import Synchronization

/// A value that can write itself as lines of the exposition format.
protocol Exposed: AnyObject, Sendable {
    /// Appends the lines of one series; `labels` is the text between the braces, without them.
    func expose(name: String, labels: String, into output: inout String)
}

/// Writes `name{labels} value`.
func appendSample(_ name: String, _ labels: String, _ value: String, to output: inout String) {
    output += name
    if !labels.isEmpty {
        output += "{"
        output += labels
        output += "}"
    }
    output += " "
    output += value
    output += "\n"
}

/// A number as Prometheus reads it; whole numbers without a fraction.
func formatted(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    // 2^53: beyond it a Double no longer holds every whole number, and its own notation is as good.
    if value == value.rounded(), abs(value) < 9_007_199_254_740_992 { return String(Int64(value)) }
    return String(value)
}

/// A `Double` that many threads change without a lock.
struct AtomicDouble: ~Copyable {
    private let bits: Atomic<UInt64>

    init(_ value: Double = 0) { bits = Atomic(value.bitPattern) }

    var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    func store(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    func add(_ amount: Double) {
        var current = bits.load(ordering: .relaxed)
        while true {
            let next = (Double(bitPattern: current) + amount).bitPattern
            let (exchanged, original) = bits.weakCompareExchange(
                expected: current, desired: next, ordering: .relaxed)
            if exchanged { return }
            current = original
        }
    }
}

/// Counts up. A negative step is ignored: a counter that falls reads as a restart of the process.
final class CounterValue: CounterHandler, Exposed {
    private let count = Atomic<UInt64>(0)

    func increment(by amount: Int64) {
        guard amount > 0 else { return }
        count.wrappingAdd(UInt64(amount), ordering: .relaxed)
    }

    func reset() { count.store(0, ordering: .relaxed) }

    func expose(name: String, labels: String, into output: inout String) {
        appendSample(name, labels, String(count.load(ordering: .relaxed)), to: &output)
    }
}

/// Counts up by fractions; negative steps and what is not a number are ignored.
final class FloatingPointCounterValue: FloatingPointCounterHandler, Exposed {
    private let sum = AtomicDouble()

    func increment(by amount: Double) {
        guard amount > 0, amount.isFinite else { return }
        sum.add(amount)
    }

    func reset() { sum.store(0) }

    func expose(name: String, labels: String, into output: inout String) {
        appendSample(name, labels, formatted(sum.value), to: &output)
    }
}

/// The last value set: a gauge or a meter.
final class GaugeValue: MeterHandler, RecorderHandler, Exposed {
    private let current = AtomicDouble()

    func set(_ value: Int64) { current.store(Double(value)) }
    func set(_ value: Double) { current.store(value) }
    func increment(by amount: Double) { current.add(amount) }
    func decrement(by amount: Double) { current.add(-amount) }
    func record(_ value: Int64) { current.store(Double(value)) }
    func record(_ value: Double) { current.store(value) }

    func expose(name: String, labels: String, into output: inout String) {
        appendSample(name, labels, formatted(current.value), to: &output)
    }
}
