internal import EsperTypes

extension EsperClient {
    /// Runs `body` while holding a lock, in a session of its own.
    ///
    /// `body` is cancelled when the lock is lost under it: because the session ended (code `session_ended`), or because
    /// somebody else gave the lock back in the session's name (`lock_lost`). The lock may be another's by then, so whatever is
    /// guarded must check the fencing token. `onLoss` is called first, at most once.
    ///
    /// When this task is cancelled, so is `body`; as soon as it has returned, the lock is given back, not when its time to
    /// live is over.
    ///
    /// - Throws: ``EsperError``, with code `not_granted` when the wait is over; or what `body` throws.
    public func withLock<Value: Sendable>(
        _ name: String, ttl: Duration = .seconds(10), wait: Duration,
        onLoss: (@Sendable () -> Void)? = nil,
        _ body: @escaping @Sendable (LockGrant) async throws -> Value
    ) async throws -> Value {
        let session = try await openSession(ttl: ttl)
        do {
            let grant = try await acquire(name, session: session.id, wait: wait)
            guard let token = grant.token else {
                throw EsperError(
                    code: EsperError.Code.notGranted, message: "\(name) is held by session \(grant.holder)",
                    outcome: .notCommitted, isRetryable: true)
            }
            let value = try await session.whileAlive(
                onLoss: onLoss, watching: { await self.loss(of: .lock(name, session: session.id, token)) },
                { try await body(grant) })
            // `body` is done, whatever becomes of the session: one that cannot be ended now ends after its time to live.
            try? await session.close()
            return value
        } catch {
            try? await session.close()
            throw error
        }
    }
}
