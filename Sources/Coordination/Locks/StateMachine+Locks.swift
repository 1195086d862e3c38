import EsperTypes

extension StateMachine {
    mutating func acquireLock(
        _ request: LockRequest, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard sessions.contains(request.session) else { throw .sessionNotFound(request.session) }
        let queue = ClaimIndex.queue(.lock, request.name)
        let key = ClaimIndex.key(queue, request.session)
        let holder = claims.head(of: queue)
        if let claim = keyspace.live.value(for: key) {
            let token = FencingToken(claim.createRevision.rawValue)
            return .lock(LockReply(token: token, isHeld: holder?.token == token, holder: holder?.token ?? token))
        }
        if !request.waits, let holder { throw .lockHeld(by: holder.token) }
        try admitAudited()
        let token = enqueue(queue, key, request.session, Array(context.principal.utf8), &output)
        if let holder {
            audit(.lockQueued, request.name, Self.tokenFields(token, request.session), &context, &output)
            return .lock(LockReply(token: token, isHeld: false, holder: holder.token))
        }
        grant(queue, token, request.session, &context, &output)
        return .lock(LockReply(token: token, isHeld: true, holder: token))
    }

    /// Gives a claim up, held or waiting.
    mutating func releaseLock(
        _ name: String, _ session: SessionID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        let key = ClaimIndex.key(ClaimIndex.queue(.lock, name), session)
        guard keyspace.live.value(for: key) != nil else { throw .lockNotFound }
        let wasHeld = withdraw(key, actor: nil, reason: OutboxRecord.Kind.lockReleased.name, &context, &output)
        keyspace.commit(into: &output.events)
        if !wasHeld {
            output.departures.append(Departure(kind: .lock, name: name, session: session, cause: .givenUp))
        }
        return .lockReleased(wasHeld: wasHeld)
    }

    /// Leaves a lock's queue. A claim that was granted meanwhile stays: whoever asks again under the same request, on
    /// another node perhaps, may have been told so.
    mutating func cancelLockWait(
        _ name: String, _ session: SessionID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        let queue = ClaimIndex.queue(.lock, name)
        let key = ClaimIndex.key(queue, session)
        guard let claim = keyspace.live.value(for: key) else { throw .lockNotFound }
        let token = FencingToken(claim.createRevision.rawValue)
        guard claims.head(of: queue)?.token != token else {
            return .lock(LockReply(token: token, isHeld: true, holder: token))
        }
        withdraw(key, actor: nil, reason: OutboxRecord.Kind.lockWaitCancelled.name, &context, &output)
        keyspace.commit(into: &output.events)
        output.departures.append(Departure(kind: .lock, name: name, session: session, cause: .waitEnded))
        return .lockReleased(wasHeld: false)
    }

    // MARK: Claims of locks and elections

    /// Puts a claim at the end of its queue, as a revision of its own.
    mutating func enqueue(
        _ queue: ClaimIndex.Queue, _ key: [UInt8], _ session: SessionID, _ value: [UInt8],
        _ output: inout ApplyOutput
    ) -> FencingToken {
        let token = keyspace.upcoming.rawValue
        keyspace.put(key, value, session: session)
        claims.claims.set(NumberedKey(queue, token), session)
        keyspace.commit(into: &output.events)
        return FencingToken(token)
    }

    /// Tells of a new holder.
    mutating func grant(
        _ queue: ClaimIndex.Queue, _ token: FencingToken, _ session: SessionID, _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) {
        let kind = ClaimIndex.kind(of: queue)
        let name = ClaimIndex.name(of: queue)
        output.grants.append(Grant(kind: kind, name: name, session: session, token: token))
        audit(
            kind == .lock ? .lockAcquired : .electionWon, name, Self.tokenFields(token, session),
            actor: sessions.records.value(for: session.rawValue)?.principal, &context, &output)
    }

    /// Deletes a claim as part of the upcoming revision. Whoever is next is granted when the command is done.
    ///
    /// - Parameters:
    ///   - actor: for the record; `nil` means the principal of the command.
    ///   - reason: for the record: what ended the claim.
    /// - Returns: whether the claim was the holder.
    @discardableResult
    mutating func withdraw(
        _ key: [UInt8], actor: String?, reason: String, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> Bool {
        guard let claim = keyspace.delete(key), let session = claim.session else {
            preconditionFailure("the claim \(String(decoding: key, as: UTF8.self)) is not in the keyspace")
        }
        let queue = ClaimIndex.queue(ofKey: key)
        let token = FencingToken(claim.createRevision.rawValue)
        let wasHeld = claims.head(of: queue)?.token == token
        claims.remove(claim)
        // A queue orphaned earlier in the command has no holder: its head was never told.
        let isOrphaned = context.isOrphaned(queue)
        if wasHeld, !isOrphaned { context.orphan(queue) }
        let held = wasHeld && !isOrphaned
        let kind: OutboxRecord.Kind =
            switch (ClaimIndex.kind(of: queue), held) {
            case (.lock, true): .lockReleased
            case (.lock, false): .lockWaitCancelled
            case (.election, _): .electionResigned
            }
        audit(
            kind, ClaimIndex.name(of: queue),
            Self.tokenFields(token, session) + [.init("reason", reason), .init("held", held ? "true" : "false")],
            actor: actor, &context, &output)
        return held
    }

    /// Grants the queues whose holder went to whoever is first now.
    mutating func promote(_ context: inout ApplyContext, _ output: inout ApplyOutput) {
        for queue in context.orphanedQueues {
            guard let head = claims.head(of: queue) else { continue }
            grant(queue, head.token, head.session, &context, &output)
        }
    }

    static func tokenFields(_ token: FencingToken, _ session: SessionID) -> [OutboxRecord.Field] {
        [.init("token", token.description), .init("session", session.description)]
    }
}
