public import Metrics
internal import Synchronization

/// A swift-metrics backend that answers in Prometheus's text format.
///
/// Recording costs one or two atomic additions and takes no lock; making, destroying and exposing a metric do.
///
/// - `Counter` `raft.leader.changes` is exposed as `esper_raft_leader_changes_total`, `Gauge` and `Meter` under their
///   plain name, `Timer` as a histogram in `_seconds`, `Recorder` as a histogram with buckets by powers of four.
/// - The number of series is bounded. Beyond the bound, and when a name is taken by another kind, the caller gets a
///   working metric that is not exposed, and `esper_metrics_refused_total` counts it: metrics never stop the program.
public final class PrometheusRegistry: MetricsFactory {
    private enum Kind: String {
        case counter, gauge, histogram
    }

    private struct Series {
        var labels: String
        var value: any Exposed
        /// The same label and dimensions may be made by several owners; the last to go takes the series along.
        var owners: Int
    }

    private struct Family {
        var kind: Kind
        var help: String
        var series: [String: Series] = [:]
    }

    private struct State {
        var families: [String: Family] = [:]
        var seriesCount = 0
        var refused: UInt64 = 0
        var locations: [ObjectIdentifier: (name: String, labels: String)] = [:]
    }

    private let state = Mutex(State())
    private let maximumSeries: Int

    /// - Parameter maximumSeries: label combinations over all metrics; a histogram counts once.
    public init(maximumSeries: Int = 4096) {
        self.maximumSeries = maximumSeries
    }

    /// The content type of ``expose()``.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// Every series and the process's own numbers, families and series in a stable order.
    public func expose() -> String {
        let (families, refused, count) = state.withLock { ($0.families, $0.refused, $0.seriesCount) }
        var output = ""
        output.reserveCapacity(count * 96 + 1024)
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            output += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.kind.rawValue)\n"
            for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) {
                series.value.expose(name: name, labels: labels, into: &output)
            }
        }
        output += "# TYPE esper_metrics_refused_total counter\nesper_metrics_refused_total \(refused)\n"
        output += "# TYPE esper_metrics_series gauge\nesper_metrics_series \(count)\n"
        ProcessMetrics.expose(into: &output)
        return output
    }

    // MARK: MetricsFactory

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        register(label, "total", dimensions, .counter) { CounterValue() }
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        register(label, "total", dimensions, .counter) { FloatingPointCounterValue() }
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        register(label, nil, dimensions, .gauge) { GaugeValue() }
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return register(label, nil, dimensions, .gauge) { GaugeValue() } }
        return register(label, nil, dimensions, .histogram) { HistogramValue(bounds: HistogramValue.sizeBounds) }
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        register(label, "seconds", dimensions, .histogram) {
            HistogramValue(bounds: HistogramValue.durationBounds)
        }
    }

    public func destroyCounter(_ handler: any CounterHandler) { release(handler) }
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { release(handler) }
    public func destroyMeter(_ handler: any MeterHandler) { release(handler) }
    public func destroyRecorder(_ handler: any RecorderHandler) { release(handler) }
    public func destroyTimer(_ handler: any TimerHandler) { release(handler) }

    // MARK: Registration

    private func register<Value: Exposed>(
        _ label: String, _ suffix: String?, _ dimensions: [(String, String)], _ kind: Kind, _ make: () -> Value
    ) -> Value {
        let name = MetricNames.name(of: label, suffix: suffix)
        let labels = Self.labels(of: dimensions)
        return state.withLock { state in
            var family = state.families[name] ?? Family(kind: kind, help: Self.help(label))
            if var series = family.series[labels], let value = series.value as? Value {
                series.owners += 1
                family.series[labels] = series
                state.families[name] = family
                return value
            }
            let value = make()
            guard family.kind == kind, family.series[labels] == nil, state.seriesCount < maximumSeries else {
                state.refused += 1
                return value
            }
            family.series[labels] = Series(labels: labels, value: value, owners: 1)
            state.families[name] = family
            state.seriesCount += 1
            state.locations[ObjectIdentifier(value)] = (name, labels)
            return value
        }
    }

    private func release(_ handler: AnyObject) {
        state.withLock { state in
            guard let (name, labels) = state.locations[ObjectIdentifier(handler)],
                var family = state.families[name], var series = family.series[labels]
            else { return }
            series.owners -= 1
            if series.owners > 0 {
                family.series[labels] = series
            } else {
                family.series[labels] = nil
                state.locations[ObjectIdentifier(handler)] = nil
                state.seriesCount -= 1
            }
            state.families[name] = family.series.isEmpty ? nil : family
        }
    }

    /// The text between the braces, sorted by label name; of two dimensions with one name the first stays.
    private static func labels(of dimensions: [(String, String)]) -> String {
        var named: [(String, String)] = []
        for (key, value) in dimensions {
            let name = MetricNames.labelName(of: key)
            if !named.contains(where: { $0.0 == name }) { named.append((name, value)) }
        }
        var text = ""
        for (name, value) in named.sorted(by: { $0.0 < $1.0 }) {
            if !text.isEmpty { text += "," }
            text += name + "=\""
            MetricNames.appendEscaped(MetricNames.clipped(value), to: &text)
            text += "\""
        }
        return text
    }

    private static func help(_ label: String) -> String {
        label.filter { $0 != "\n" && $0 != "\\" }
    }
}
