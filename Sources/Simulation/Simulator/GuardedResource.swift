import EsperTypes

/// What stands behind a lock: it refuses a token below the highest it has seen.
struct GuardedResource {
    private var highest: UInt64 = 0
    private var writers: [UInt64: Int] = [:]
    private(set) var writes = 0
    private(set) var refused = 0

    /// - Parameters:
    ///   - holds: whether the writer certainly holds the lock: then nobody else can have a higher token.
    ///   - checks: whether it looks at tokens at all.
    mutating func write(
        _ token: UInt64, by writer: Int, holds: Bool, checks: Bool = true
    ) throws(SimulationFailure) {
        if token < highest, checks {
            refused += 1
            guard !holds else {
                throw SimulationFailure(
                    .fencing, "h\(writer) holds the lock with \(token), and somebody has written with \(highest)")
            }
            return
        }
        guard token >= highest else {
            throw SimulationFailure(.fencing, "h\(writer) writes with \(token) after \(highest)")
        }
        writes += 1
        highest = token
        guard let other = writers.updateValue(writer, forKey: token), other != writer else { return }
        throw SimulationFailure(.fencing, "h\(other) and h\(writer) both write with \(token)")
    }
}
