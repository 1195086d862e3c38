import CacheCore
import EsperTypes
import NIOCore
import RaftRuntime
import Synchronization

/// One caller who waits for several blobs until a deadline.
final class LoadWait: Sendable {
    enum Outcome: Sendable {
        case found([UInt8], CacheTier)
        /// No source has it.
        case lost
        /// Some source could not be asked.
        case unreached
        /// Nobody was asked: too much is going on.
        case refused
    }

    private struct State {
        var missing: Set<Digest>
        var outcomes: [Digest: Outcome] = [:]
        var continuation: CheckedContinuation<Void, Never>?
        var isOver = false
    }

    private let state: Mutex<State>

    init(_ digests: [Digest]) { state = Mutex(State(missing: Set(digests))) }

    func set(_ digest: Digest, _ outcome: Outcome) {
        let waiting: CheckedContinuation<Void, Never>? = state.withLock { state in
            guard !state.isOver, state.missing.remove(digest) != nil else { return nil }
            state.outcomes[digest] = outcome
            guard state.missing.isEmpty else { return nil }
            state.isOver = true
            defer { state.continuation = nil }
            return state.continuation
        }
        waiting?.resume()
    }

    private func end() {
        let waiting: CheckedContinuation<Void, Never>? = state.withLock { state in
            state.isOver = true
            defer { state.continuation = nil }
            return state.continuation
        }
        waiting?.resume()
    }

    /// Once only. What is not there by the deadline, or when the task is cancelled, is not in the result.
    func outcomes(by deadline: Instant, on eventLoop: any EventLoop) async -> [Digest: Outcome] {
        let left = max(deadline - NodeClock.now(), .zero)
        let timer = eventLoop.scheduleTask(in: .nanoseconds(min(left.nanoseconds, 3_600_000_000_000))) { self.end() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isOver = state.withLock { state in
                    if !state.isOver { state.continuation = continuation }
                    return state.isOver
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            end()
        }
        timer.cancel()
        return state.withLock { $0.outcomes }
    }
}
