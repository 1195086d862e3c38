import DequeModule
import Synchronization

/// Where scans go on: numbers for clients, which know no others, and keys behind them. Bounded: the oldest are forgotten.
final class ScanCursors: Sendable {
    struct Place: Sendable {
        /// The tenant, so that nobody goes on with another one's scan; for `HSCAN` the hash.
        var scope: [UInt8]
        var after: [UInt8]
        /// Strings come first, then hashes.
        var isInHashes = false
    }

    private struct State {
        var next: UInt64 = 1
        var places: [UInt64: Place] = [:]
        var order = Deque<UInt64>()
    }

    private static let limit = 8192
    private let state = Mutex(State())

    func number(for place: Place) -> UInt64 {
        state.withLock { state in
            let number = state.next
            state.next += 1
            state.places[number] = place
            state.order.append(number)
            if state.order.count > Self.limit, let oldest = state.order.popFirst() { state.places[oldest] = nil }
            return number
        }
    }

    func place(_ number: UInt64, scope: [UInt8]) -> Place? {
        state.withLock { $0.places[number] }.flatMap { $0.scope == scope ? $0 : nil }
    }
}
