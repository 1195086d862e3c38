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
