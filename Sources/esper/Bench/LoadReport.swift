/// What a measurement found.
struct LoadReport: Sendable {
    /// Of one client, or of all together.
    struct Tally: Sendable {
        var latency = Histogram()
        /// Latencies of a part of the operation, by name.
        var parts: [String: Histogram] = [:]
        /// Operations inside the measured window, by endpoint.
        var operations: [String: UInt64] = [:]
        /// Failures over the whole run, warm-up included, by reason.
        var failures: [String: UInt64] = [:]
        var unknownOutcomes: UInt64 = 0

        mutating func merge(_ other: Tally) {
            latency.merge(other.latency)
            for (name, histogram) in other.parts { parts[name, default: Histogram()].merge(histogram) }
            operations.merge(other.operations, uniquingKeysWith: +)
            failures.merge(other.failures, uniquingKeysWith: +)
            unknownOutcomes += other.unknownOutcomes
        }
    }

    var kind: String
    var options: LoadOptions
    var tally: Tally
    var seconds: Double
    var processors: JSON

    var rate: Double { Double(tally.latency.count) / seconds }

    var json: JSON {
        .fields([
            "kind": .string(kind),
            "label": .optional(options.label) { .string($0) },
            "clients": .int(options.clients), "rate": .optional(options.rate) { .int($0) },
            "connections": .int(options.connectionCount),
            "value_bytes": .int(options.valueBytes),
            "keys": .int(options.keys),
            "target": .string(options.target.rawValue),
            "seconds": .rounded(seconds),
            "operations": .unsigned(tally.latency.count),
            "rate_per_second": .rounded(rate),
            "latency": tally.latency.json,
            "parts": Self.object(tally.parts) { $0.json },
            "endpoints": Self.object(tally.operations) { .unsigned($0) },
            "failures": Self.object(tally.failures) { .unsigned($0) },
            "unknown_outcomes": .unsigned(tally.unknownOutcomes),
            "cores": processors,
        ])
    }

    var text: String {
        let failed = tally.failures.values.reduce(0, +)
        var lines = [
            "\(kind): \(Int(rate.rounded()))/s with \(options.clients) clients on \(options.connectionCount) connections",
            "  \(tally.latency.text)",
        ]
        for (name, histogram) in tally.parts.sorted(by: { $0.key < $1.key }) {
            lines.append("  \(name): \(histogram.text)")
        }
        if failed > 0 {
            let reasons = tally.failures.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            lines.append(
                "  \(failed) failed (\(reasons.joined(separator: ", "))), outcome unknown for \(tally.unknownOutcomes)")
        }
        return lines.joined(separator: "\n")
    }

    private static func object<Value>(_ values: [String: Value], _ convert: (Value) -> JSON) -> JSON {
        .object(values.sorted { $0.key < $1.key }.map { JSON.Field(name: $0.key, value: convert($0.value)) })
    }
}
