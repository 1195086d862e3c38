import Synchronization

/// The slowest of what was measured lately, without a histogram: the 99th percentile of the last hundred and a few.
package final class RecentTimes: Sendable {
    private struct State {
        var times: [Duration] = []
        var next = 0
    }

    private static let count = 128
    private let state = Mutex(State())

    package init() {}

    package func add(_ time: Duration) {
        state.withLock { state in
            if state.times.count < Self.count { return state.times.append(time) }
            state.times[state.next] = time
            state.next = (state.next + 1) % Self.count
        }
    }

    /// Of what came since the last call; nil when that was nothing.
    package func takeSlowest() -> Duration? {
        let times = state.withLock { state in
            defer { state = State() }
            return state.times
        }
        guard !times.isEmpty else { return nil }
        return times.sorted()[(times.count * 99 + 99) / 100 - 1]
    }
}
