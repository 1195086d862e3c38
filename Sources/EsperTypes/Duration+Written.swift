extension Duration {
    /// Reads a duration as people write it: `250us`, `30ms`, `15s`, `2m`, `1h` or `90d`, several parts after one another
    /// (`1m30s`), or `0`. Digits and units are ASCII; there are no signs, fractions or blanks, and nothing beyond 292 years.
    public init?(written text: String) {
        var rest = text == "0" ? "0s"[...].utf8 : text[...].utf8
        var total: Int64 = 0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { (0x30...0x39).contains($0) }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { (0x61...0x7a).contains($0) }
            rest = rest.dropFirst(unit.count)
            guard let count = Int64(Substring(digits)), let scale = Self.nanoseconds(in: Substring(unit)) else {
                return nil
            }
            let (product, overflow) = count.multipliedReportingOverflow(by: scale)
            let (sum, carried) = total.addingReportingOverflow(product)
            guard !overflow, !carried else { return nil }
            total = sum
        }
        self = .nanoseconds(total)
    }

    /// In the largest unit that leaves a whole number; reads back, below microseconds aside.
    public var written: String {
        let value = nanoseconds
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
