internal import Synchronization

/// Lets one task wait until somebody rings or some time has passed. Rings before the wait are not lost, nor counted.
package final class Doorbell: Sendable {
    private enum State {
        case quiet, rung
        case awaited(id: UInt64, CheckedContinuation<Void, Never>)
    }

    private let state = Mutex((next: UInt64(0), bell: State.quiet))

    package init() {}

    package func ring() {
        let waiting: CheckedContinuation<Void, Never>? = state.withLock { state in
            switch state.bell {
            case .quiet, .rung:
                state.bell = .rung
                return nil
            case .awaited(_, let continuation):
                state.bell = .quiet
                return continuation
            }
        }
        waiting?.resume()
    }

    /// Returns at the next ring, after the time, or when the task is cancelled.
    package func wait(atMost limit: Duration?, clock: any Clock<Duration>) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.nextRing() }
            if let limit {
                // A sleep that is cancelled has been overtaken by a ring: nothing is lost.
                group.addTask { try? await clock.sleep(for: limit) }
            }
            await group.next()
            group.cancelAll()
        }
    }

    private func nextRing() async {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if case .rung = state.bell {
                        state.bell = .quiet
                        return true
                    }
                    if Task.isCancelled { return true }
                    guard case .quiet = state.bell else { preconditionFailure("two tasks wait at one bell") }
                    state.bell = .awaited(id: id, continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let waiting: CheckedContinuation<Void, Never>? = state.withLock { state in
                guard case .awaited(id, let continuation) = state.bell else { return nil }
                state.bell = .quiet
                return continuation
            }
            waiting?.resume()
        }
    }
}
