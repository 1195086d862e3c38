internal import NIOCore
internal import Synchronization

/// A number of turns that callers take and give back, first come, first served.
final class Slots: Sendable {
    enum Refusal: Error {
        case tooManyWait
        case timedOut
        case cancelled
        case closed
    }

    private struct State {
        var free: Int
        var waiting: [(id: UInt64, caller: CheckedContinuation<Refusal?, Never>)] = []
        var nextID: UInt64 = 0
        var isClosed = false
    }

    static let maximumWaiting = 4096

    private let state: Mutex<State>

    init(_ count: Int) { state = Mutex(State(free: count)) }

    /// Returns with a turn, to be given back.
    func take(until deadline: NIODeadline, on eventLoop: any EventLoop) async throws(Refusal) {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let timer = eventLoop.scheduleTask(deadline: deadline) { self.giveUp(id, .timedOut) }
        let refusal = await withTaskCancellationHandler {
            await withCheckedContinuation { caller in
                let answer: Refusal?? = state.withLock { state in
                    if state.isClosed { return .closed }
                    if Task.isCancelled { return .cancelled }
                    if state.free > 0 {
                        state.free -= 1
                        return .some(nil)
                    }
                    if state.waiting.count == Self.maximumWaiting { return .tooManyWait }
                    state.waiting.append((id: id, caller: caller))
                    return nil
                }
                if let answer { caller.resume(returning: answer) }
            }
        } onCancel: {
            giveUp(id, .cancelled)
        }
        timer.cancel()
        if let refusal { throw refusal }
    }

    func give() {
        let next = state.withLock { state -> CheckedContinuation<Refusal?, Never>? in
            if state.waiting.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().caller
        }
        next?.resume(returning: nil)
    }

    /// Who waits is refused, and so is who comes later.
    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for (_, caller) in waiting { caller.resume(returning: .closed) }
    }

    private func giveUp(_ id: UInt64, _ refusal: Refusal) {
        let caller = state.withLock { state -> CheckedContinuation<Refusal?, Never>? in
            guard let position = state.waiting.firstIndex(where: { $0.id == id }) else { return nil }
            return state.waiting.remove(at: position).caller
        }
        caller?.resume(returning: refusal)
    }
}
