extension Duration {
    /// Reads `250us`, `30ms`, `15s`, `2m` or `1h`.
    init?(written text: String) {
        let digits = text.prefix { $0.isNumber }
        guard let count = Int64(digits), count <= 1_000_000_000 else { return nil }
        switch text.dropFirst(digits.count) {
        case "us": self = .microseconds(count)
        case "ms": self = .milliseconds(count)
        case "s": self = .seconds(count)
        case "m": self = .seconds(count * 60)
        case "h": self = .seconds(count * 3600)
        default: return nil
        }
    }
}

extension Int {
    /// Reads `4096`, `512KiB`, `64MiB` or `1GiB`.
    init?(writtenBytes text: String) {
        let digits = text.prefix { $0.isNumber }
        guard let count = Int(digits) else { return nil }
        let shift: Int
        switch text.dropFirst(digits.count) {
        case "", "B": shift = 0
        case "KiB": shift = 10
        case "MiB": shift = 20
        case "GiB": shift = 30
        default: return nil
        }
        guard count <= Int.max >> shift else { return nil }
        self = count << shift
    }
}
