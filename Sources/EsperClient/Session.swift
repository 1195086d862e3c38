public import EsperTypes

internal import EsperProtocol
internal import NIOCore
internal import Synchronization

/// A session that is kept alive until ``close()``, or until it can be kept no longer.
///
/// It counts as ended when the cluster says so, and also when no keep-alive was confirmed for its whole time to live,
/// counted from when the last confirmed one was *sent*: by then the cluster may have ended it.
public final class Session: Sendable {
    /// Why a session ended.
    public enum End: Hashable, Sendable {
        /// We closed it.
        case closed
        /// The cluster has ended it.
        case expired
        /// No keep-alive was confirmed in time, so it may have ended.
        case unconfirmed
    }

    public let id: SessionID
    public let ttl: Duration
    private let client: EsperClient

    private struct State {
        var end: End?
        var waiting: [UInt64: @Sendable (End) -> Void] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state = Mutex(State())

    init(id: SessionID, ttl: Duration, client: EsperClient) {
        self.id = id
        self.ttl = ttl
        self.client = client
    }

    /// Nil while it is alive.
    public var end: End? { state.withLock { $0.end } }

    /// Calls `body` when the session ends, or at once when it has.
    public func onEnd(_ body: @escaping @Sendable (End) -> Void) { _ = register(body) }

    /// Waits for the end; a cancelled task gets nil.
    public func waitUntilEnded() async -> End? {
        let waiter = Mutex<(number: UInt64?, isCancelled: Bool, resume: (@Sendable (End?) -> Void)?)>((nil, false, nil))
        return await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<End?, Never>) in
                let once = Once(continuation)
                let number = register { once.resume($0) }
                let isCancelled = waiter.withLock { waiter in
                    waiter.number = number
                    waiter.resume = { once.resume($0) }
                    return waiter.isCancelled
                }
                if isCancelled { once.resume(nil) }
            }
        } onCancel: {
            let (number, resume) = waiter.withLock { waiter in
                waiter.isCancelled = true
                return (waiter.number, waiter.resume)
            }
            if let number { forget(number) }
            resume?(nil)
        }
    }

    /// Ends the session, here and in the cluster; for a cancelled task too, which waits for that no longer than the
    /// session would live.
    public func close() async throws(EsperError) {
        guard finish(.closed) else { return }
        let revocation = EsperClient.revoke(id, timeout: min(ttl, client.options.timeout))
        do {
            _ = try await client.runUncancelled(revocation, ProtoRevokeResponse.self)
        } catch {
            // Gone is what was wanted.
            if error.code != "session_not_found" { throw error }
        }
    }

    /// Stops keeping the session alive without ending it: it lives for the rest of its time.
    public func abandon() { _ = finish(.closed) }

    /// Runs `body`, and cancels it when the session ends.
    ///
    /// - Throws: what `body` throws; ``EsperError`` with code `session_ended` when the session ended first.
    public func whileAlive<Value: Sendable>(
        onLoss: (@Sendable () -> Void)? = nil, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await whileAlive(onLoss: onLoss, watching: nil, body)
    }

    /// As ``whileAlive(onLoss:_:)``, until `watch` answers with a loss too.
    func whileAlive<Value: Sendable>(
        onLoss: (@Sendable () -> Void)?, watching watch: (@Sendable () async -> EsperError?)?,
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Step<Value>.self) { group in
            group.addTask { .done(try await body()) }
            group.addTask { await self.waitUntilEnded().map { .lost(self.lost($0)) } ?? .nothing }
            if let watch { group.addTask { await watch().map { .lost($0) } ?? .nothing } }
            defer { group.cancelAll() }
            while let step = try await group.next() {
                switch step {
                case .done(let value): return value
                case .lost(let loss):
                    onLoss?()
                    throw loss
                case .nothing: break
                }
            }
            throw CancellationError()
        }
    }

    /// What one of the tasks of ``whileAlive(onLoss:watching:_:)`` came to.
    private enum Step<Value: Sendable>: Sendable {
        case done(Value)
        case lost(EsperError)
        /// The task was cancelled.
        case nothing
    }

    private func lost(_ end: End) -> EsperError {
        EsperError(code: EsperError.Code.sessionEnded, message: "session \(id) ended (\(end))", outcome: .unknown)
    }

    // MARK: Keep-alive

    func startKeepingAlive(from confirmed: NIODeadline) {
        renewLater(confirmed: confirmed, attempt: 0)
    }

    /// A third of the time to live between renewals leaves two more chances; after a failure sooner.
    private func renewLater(confirmed: NIODeadline, attempt: Int) {
        let third = TimeAmount.nanoseconds(TimeAmount(ttl).nanoseconds / 3)
        let delay = attempt == 0 ? third : min(third, .milliseconds(100))
        let at = min(NIODeadline.now() + delay, confirmed + TimeAmount(ttl))
        // Not cancelled when the session ends: it looks, finds the end and stops.
        client.eventLoop.scheduleTask(deadline: at) { self.renew(confirmed: confirmed, attempt: attempt) }
    }

    private func renew(confirmed: NIODeadline, attempt: Int) {
        guard end == nil else { return }
        let sent = NIODeadline.now()
        let left = confirmed + TimeAmount(ttl) - sent
        guard left > .zero else {
            _ = finish(.unconfirmed)
            return
        }
        let operation = EsperClient.keepAlive([id], timeout: .nanoseconds(left.nanoseconds))
        client.start(operation, ProtoKeepAliveResponse.self) { result in
            switch result {
            case .success(let response):
                if response.sessions.first?.alive == true {
                    self.renewLater(confirmed: sent, attempt: 0)
                } else {
                    _ = self.finish(.expired)
                }
            case .failure(let error):
                if error.code == EsperError.Code.closed {
                    _ = self.finish(.closed)
                } else {
                    self.renewLater(confirmed: confirmed, attempt: attempt + 1)
                }
            }
        }
    }

    // MARK: Helpers

    /// - Returns: whether this was the end.
    private func finish(_ end: End) -> Bool {
        let waiting = state.withLock { state -> [@Sendable (End) -> Void]? in
            guard state.end == nil else { return nil }
            state.end = end
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        guard let waiting else { return false }
        for body in waiting { body(end) }
        return true
    }

    private func register(_ body: @escaping @Sendable (End) -> Void) -> UInt64 {
        let (end, number) = state.withLock { state in
            defer { state.nextWaiter += 1 }
            if state.end == nil { state.waiting[state.nextWaiter] = body }
            return (state.end, state.nextWaiter)
        }
        if let end { body(end) }
        return number
    }

    private func forget(_ number: UInt64) {
        state.withLock { _ = $0.waiting.removeValue(forKey: number) }
    }
}

/// Resumes a continuation the first time, and does nothing after that.
final class Once<Value: Sendable>: Sendable {
    private let continuation: Mutex<CheckedContinuation<Value, Never>?>

    init(_ continuation: CheckedContinuation<Value, Never>) { self.continuation = Mutex(continuation) }

    func resume(_ value: Value) {
        let taken = continuation.withLock { continuation in
            defer { continuation = nil }
            return continuation
        }
        taken?.resume(returning: value)
    }
}
