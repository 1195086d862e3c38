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
                onLoss: onLoss, watching: { await self.loss(of: name, session.id, token) },
                { try await body(grant) })
            // `body` is done, whatever becomes of the session: one that cannot be ended now ends after its time to live.
            try? await session.close()
            return value
        } catch {
            try? await session.close()
            throw error
        }
    }

    /// Waits until the session's place in the lock's queue is gone.
    ///
    /// - Returns: nil when that cannot be seen, or the task was cancelled: the session's end is noticed all the same.
    private func loss(of name: String, _ session: SessionID, _ token: FencingToken) async -> EsperError? {
        let key = ClaimName.key(lock: name, session: session)
        let lost = EsperError(
            code: EsperError.Code.lockLost, message: "\(name) was released in the name of session \(session)",
            outcome: .unknown)
        // The token is the revision that made the key.
        var from = token.rawValue + 1
        while !Task.isCancelled {
            do {
                var changes = watch(.key(key), fromRevision: from).makeAsyncIterator()
                while let batch = try await changes.next() {
                    if batch.events.contains(where: \.isDelete) { return lost }
                }
            } catch {
                // A place taken long ago: what happened since is not kept, but what is there now can be read.
                guard let error = error as? EsperError, error.code == "compacted",
                    let (pair, revision) = try? await get(key)
                else { return nil }
                guard pair?.createRevision == token.rawValue else { return lost }
                from = revision + 1
            }
        }
        return nil
    }
}
