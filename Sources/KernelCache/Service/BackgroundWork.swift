import Synchronization

/// Work that nobody waits for and that happens at another time as well: bounded, dropped when there is too much, which is counted, and
/// awaited at the end.
final class BackgroundWork: Sendable {
    private struct State {
        var next: UInt64 = 0
        var tasks: [UInt64: Task<Void, Never>] = [:]
        var isClosed = false
    }

    private let limit: Int
    private let dropped = Count("esper_cache_background_dropped")
    private let state = Mutex(State())

    init(limit: Int = 64) { self.limit = limit }

    /// - Returns: false when it was dropped.
    @discardableResult
    func start(_ body: @escaping @Sendable () async -> Void) -> Bool {
        let isStarted = state.withLock { state in
            guard !state.isClosed, state.tasks.count < limit else { return false }
            let number = state.next
            state.next += 1
            // Cancelled and awaited by ``close()``.
            state.tasks[number] = Task {
                await body()
                self.ended(number)
            }
            return true
        }
        if !isStarted { dropped.add() }
        return isStarted
    }

    private func ended(_ number: UInt64) { state.withLock { _ = $0.tasks.removeValue(forKey: number) } }

    func close() async {
        let tasks = state.withLock { state in
            state.isClosed = true
            return Array(state.tasks.values)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }
}
