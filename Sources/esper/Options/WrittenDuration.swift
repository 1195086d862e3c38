import ArgumentParser
import EsperTypes

/// A duration as people write it: `500ms`, `15s`, `2m`, `1h`, `90d`; several parts may follow one another (`1m30s`).
package struct WrittenDuration: ExpressibleByArgument, Equatable, Sendable, CustomStringConvertible {
    package var duration: Duration

    package init(_ duration: Duration) { self.duration = duration }

    package init?(argument: String) {
        // Nothing needs no unit.
        var rest = argument == "0" ? "0s" : argument[...]
        var total: Int64 = 0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isLetter }
            rest = rest.dropFirst(unit.count)
            guard let count = Int64(digits), let scale = Self.nanoseconds(in: unit) else { return nil }
            let (product, overflow) = count.multipliedReportingOverflow(by: scale)
            let (sum, carried) = total.addingReportingOverflow(product)
            guard !overflow, !carried else { return nil }
            total = sum
        }
        duration = .nanoseconds(total)
    }

    package var defaultValueDescription: String { description }

    var seconds: Double { Double(duration.nanoseconds) / 1e9 }

    var milliseconds: UInt64 { UInt64(max(0, duration.nanoseconds) / 1_000_000) }

    /// The largest unit that leaves a whole number.
    package var description: String {
        let value = duration.nanoseconds
        for (unit, scale) in [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)] as [(String, Int64)]
        where value != 0 && value % (scale * 1_000_000_000) == 0 {
            return "\(value / (scale * 1_000_000_000))\(unit)"
        }
        return value % 1_000_000 == 0 ? "\(value / 1_000_000)ms" : "\(value / 1000)us"
    }

    private static func nanoseconds(in unit: Substring) -> Int64? {
        switch unit {
        case "us": 1000
        case "ms": 1_000_000
        case "s": 1_000_000_000
        case "m": 60 * 1_000_000_000
        case "h": 3600 * 1_000_000_000
        case "d": 86400 * 1_000_000_000
        default: nil
        }
    }
}
