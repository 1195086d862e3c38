import EsperTypes
import NIOCore
import RaftRuntime
import Synchronization

/// Set by several, kept from the first, awaited by one.
final class FirstOutcome<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case awaited(CheckedContinuation<Value, Never>)
        case set(Value)
        case taken
    }

    private let state = Mutex(State.empty)

    func set(_ value: Value) {
        let waiting: CheckedContinuation<Value, Never>? = state.withLock { state in
            switch state {
            case .empty:
                state = .set(value)
                return nil
            case .awaited(let continuation):
                state = .taken
                return continuation
            case .set, .taken: return nil
            }
        }
        waiting?.resume(returning: value)
    }

    /// Once only.
    func value() async -> Value {
        await withCheckedContinuation { continuation in
            let value: Value? = state.withLock { state in
                switch state {
                case .empty:
                    state = .awaited(continuation)
                    return nil
                case .set(let value):
                    state = .taken
                    return value
                case .awaited, .taken: preconditionFailure("two wait for one outcome")
                }
            }
            if let value { continuation.resume(returning: value) }
        }
    }

    /// As ``value()``, or `other` at the deadline or when the caller's task is cancelled, if nothing was set before.
    func value(by deadline: Instant, on eventLoop: any EventLoop, otherwise other: Value) async -> Value {
        // An hour, so that the loop's arithmetic holds.
        let left = min(max(deadline - NodeClock.now(), .zero), .seconds(3600))
        let timer = eventLoop.scheduleTask(in: .nanoseconds(left.nanoseconds)) { self.set(other) }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await value()
        } onCancel: {
            set(other)
        }
    }
}
