import CacheCore
package import EsperTypes
package import NIOCore
import RaftRuntime
import Synchronization

/// Those in this process who want something made that is not there: for each name one task asks, all others wait for it.
package final class MakeQueue: Sendable {
    /// What asking came to.
    package enum Answer: Sendable {
        /// Somebody makes it: ask again.
        case wait(upTo: Duration)
        /// Somebody has made it.
        case bound
        /// One of the waiters shall.
        case token(CompileToken)
        case failing(String)
    }

    package enum Turn: Sendable {
        case bound
        case token(CompileToken)
        case failing(String)
        case timedOut
        case refused
    }

    private struct State {
        /// Of each name those who wait; whoever has the lowest number came first.
        var names: [[UInt8]: [UInt64: CheckedContinuation<Turn, Never>]] = [:]
        var nextWaiter: UInt64 = 1
        /// Called, and neither waiting yet nor gone.
        var entering: Set<UInt64> = []
    }

    private let maximumWaiters: Int
    private let maximumNames = 16_384
    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    package init(maximumWaiters: Int, eventLoop: any EventLoop) {
        self.maximumWaiters = maximumWaiters
        self.eventLoop = eventLoop
    }

    package var waiterCount: Int { state.withLock { $0.names.values.reduce(0) { $0 + $1.count } } }

    /// Those who wait, and those who are about to.
    package var knownWaiters: Int {
        state.withLock { state in state.entering.count + state.names.values.reduce(0) { $0 + $1.count } }
    }

    /// - Parameters:
    ///   - ask: called by one task at a time for each name.
    ///   - giveBack: a token that nobody waits for any more.
    package func wait(
        for name: [UInt8], deadline: Instant, ask: @escaping @Sendable () async -> Answer,
        giveBack: @escaping @Sendable (CompileToken) async -> Void
    ) async -> Turn {
        let waiter = state.withLock { state in
            defer { state.nextWaiter += 1 }
            state.entering.insert(state.nextWaiter)
            return state.nextWaiter
        }
        let left = max(deadline - NodeClock.now(), .zero)
        let timer = eventLoop.scheduleTask(in: .nanoseconds(min(left.nanoseconds, 3_600_000_000_000))) {
            self.leave(name, waiter)
        }
        let turn = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Turn, Never>) in
                enter(name, waiter, continuation, ask, giveBack)
            }
        } onCancel: {
            leave(name, waiter)
        }
        timer.cancel()
        return turn
    }

    private func enter(
        _ name: [UInt8], _ waiter: UInt64, _ continuation: CheckedContinuation<Turn, Never>,
        _ ask: @escaping @Sendable () async -> Answer, _ giveBack: @escaping @Sendable (CompileToken) async -> Void
    ) {
        enum Entered { case asks, waits, refused, left }
        let entered: Entered = state.withLock { state in
            guard state.entering.remove(waiter) != nil else { return .left }
            if let waiters = state.names[name]?.count {
                guard waiters < maximumWaiters else { return .refused }
                state.names[name]?[waiter] = continuation
                return .waits
            }
            guard state.names.count < maximumNames else { return .refused }
            state.names[name] = [waiter: continuation]
            return .asks
        }
        switch entered {
        case .waits: break
        case .refused: continuation.resume(returning: .refused)
        case .left: continuation.resume(returning: .timedOut)
        // Ends when nobody waits any more.
        case .asks: Task { await self.run(name, ask, giveBack) }
        }
    }

    private func leave(_ name: [UInt8], _ waiter: UInt64) {
        let continuation = state.withLock { state in
            state.entering.remove(waiter)
            return state.names[name]?.removeValue(forKey: waiter)
        }
        continuation?.resume(returning: .timedOut)
    }

    private func run(
        _ name: [UInt8], _ ask: @Sendable () async -> Answer, _ giveBack: @Sendable (CompileToken) async -> Void
    ) async {
        while true {
            switch await ask() {
            case .bound:
                end(name, .bound)
                return
            case .failing(let message):
                end(name, .failing(message))
                return
            case .token(let token):
                guard let first = takeFirst(name) else {
                    await giveBack(token)
                    if !hasWaiters(name) { return }
                    continue
                }
                first.resume(returning: .token(token))
            case .wait(let limit):
                // Nobody cancels this task.
                try? await Task.sleep(for: limit)
            }
            if !hasWaiters(name) { return }
        }
    }

    /// Forgets the name when nobody waits for it.
    private func hasWaiters(_ name: [UInt8]) -> Bool {
        state.withLock { state in
            guard state.names[name]?.isEmpty ?? true else { return true }
            state.names[name] = nil
            return false
        }
    }

    private func takeFirst(_ name: [UInt8]) -> CheckedContinuation<Turn, Never>? {
        state.withLock { state in
            guard let first = state.names[name]?.keys.min() else { return nil }
            return state.names[name]?.removeValue(forKey: first)
        }
    }

    private func end(_ name: [UInt8], _ turn: Turn) {
        let waiting = state.withLock { $0.names.removeValue(forKey: name) }
        for (_, waiter) in (waiting ?? [:]).sorted(by: { $0.key < $1.key }) { waiter.resume(returning: turn) }
    }
}
