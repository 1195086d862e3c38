import CacheCore
import EsperTypes
import NIOCore
import RaftRuntime
import Synchronization

/// Those in this process who want something made that is not there: for each name one task asks, all others wait for it.
final class MakeQueue: Sendable {
    /// What asking came to.
    enum Answer: Sendable {
        /// Somebody makes it: ask again.
        case wait(upTo: Duration)
        /// Somebody has made it.
        case bound
        /// One of the waiters shall.
        case token(CompileToken)
        case failing(String)
    }

    enum Turn: Sendable {
        case bound
        case token(CompileToken)
        case failing(String)
        case timedOut
        case refused
    }

    private struct Name {
        var waiters: [UInt64: CheckedContinuation<Turn, Never>] = [:]
        /// In the order in which they came; those that have left are skipped.
        var order: [UInt64] = []
    }

    private struct State {
        var names: [[UInt8]: Name] = [:]
        var nextWaiter: UInt64 = 1
        /// Left before they waited.
        var left: Set<UInt64> = []
    }

    private let maximumWaiters: Int
    private let maximumNames = 16_384
    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    init(maximumWaiters: Int, eventLoop: any EventLoop) {
        self.maximumWaiters = maximumWaiters
        self.eventLoop = eventLoop
    }

    var waiterCount: Int { state.withLock { $0.names.values.reduce(0) { $0 + $1.waiters.count } } }

    /// - Parameters:
    ///   - ask: called by one task at a time for each name.
    ///   - giveBack: a token that nobody waits for any more.
    func wait(
        for name: [UInt8], deadline: Instant, ask: @escaping @Sendable () async -> Answer,
        giveBack: @escaping @Sendable (CompileToken) async -> Void
    ) async -> Turn {
        let waiter = state.withLock { state in
            defer { state.nextWaiter += 1 }
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
        state.withLock { _ = $0.left.remove(waiter) }
        return turn
    }

    private func enter(
        _ name: [UInt8], _ waiter: UInt64, _ continuation: CheckedContinuation<Turn, Never>,
        _ ask: @escaping @Sendable () async -> Answer, _ giveBack: @escaping @Sendable (CompileToken) async -> Void
    ) {
        enum Entered { case asks, waits, refused, left }
        let entered: Entered = state.withLock { state in
            if state.left.contains(waiter) { return .left }
            if state.names[name] != nil {
                guard state.names[name]?.waiters.count ?? 0 < maximumWaiters else { return .refused }
                state.names[name]?.waiters[waiter] = continuation
                state.names[name]?.order.append(waiter)
                return .waits
            }
            guard state.names.count < maximumNames else { return .refused }
            state.names[name] = Name(waiters: [waiter: continuation], order: [waiter])
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
            let continuation = state.names[name]?.waiters.removeValue(forKey: waiter)
            if continuation == nil { state.left.insert(waiter) }
            return continuation
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
            guard state.names[name]?.waiters.isEmpty ?? true else { return true }
            state.names[name] = nil
            return false
        }
    }

    private func takeFirst(_ name: [UInt8]) -> CheckedContinuation<Turn, Never>? {
        state.withLock { state in
            guard var waiting = state.names[name] else { return nil }
            defer { state.names[name] = waiting }
            let position = waiting.order.firstIndex { waiting.waiters[$0] != nil } ?? waiting.order.endIndex
            guard position < waiting.order.endIndex else {
                waiting.order = []
                return nil
            }
            let first = waiting.order[position]
            waiting.order.removeSubrange(...position)
            return waiting.waiters.removeValue(forKey: first)
        }
    }

    private func end(_ name: [UInt8], _ turn: Turn) {
        let waiting = state.withLock { $0.names.removeValue(forKey: name) }
        for waiter in waiting?.order ?? [] { waiting?.waiters[waiter]?.resume(returning: turn) }
    }
}
