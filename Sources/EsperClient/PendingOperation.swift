internal import Synchronization

/// Joins an operation with the cancellation of the task that waits for it, whichever comes first.
final class PendingOperation: Sendable {
    private let state = Mutex<(handle: OperationHandle?, isCancelled: Bool)>((nil, false))

    func started(_ handle: OperationHandle) {
        let isCancelled = state.withLock { state in
            state.handle = handle
            return state.isCancelled
        }
        if isCancelled { handle.cancel() }
    }

    func cancel() {
        let handle = state.withLock { state in
            state.isCancelled = true
            return state.handle
        }
        handle?.cancel()
    }
}
