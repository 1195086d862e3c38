import EsperTypes

extension StateMachine {
    mutating func grantSession(
        _ chosen: SessionID?, _ ttl: Duration, _ label: String, _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        if let chosen, sessions.contains(chosen) { throw .sessionExists(chosen) }
        try admitAudited()
        let session = chosen ?? sessions.free(for: context.index)
        sessions.records.set(
            session.rawValue,
            SessionTable.Record(
                ttl: ttl, principal: context.principal, label: label, grantedAt: time, grantedBy: context.index))
        output.sessionChanges.append(.granted(SessionGrant(id: session, ttl: ttl)))
        audit(
            .sessionGranted, session.description,
            [.init("ttl_ms", String(ttl.nanoseconds / 1_000_000))] + (label.isEmpty ? [] : [.init("label", label)]),
            &context, &output)
        return .sessionGranted(session, ttl: ttl)
    }

    mutating func revokeSession(
        _ session: SessionID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard let keys = end(session, .sessionRevoked, &context, &output) else { throw .sessionNotFound(session) }
        return .sessionEnded(session, keys: keys)
    }

    mutating func expireSessions(
        _ expired: [SessionID], _ term: Term, _ knownThrough: LogIndex?, _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard term == context.term else { throw .staleTerm(context.term) }
        var count = 0
        for session in expired {
            if let knownThrough, let record = sessions.records.value(for: session.rawValue),
                record.grantedBy > knownThrough
            {
                continue
            }
            if end(session, .sessionExpired, &context, &output) != nil { count += 1 }
        }
        return .sessionsExpired(count: count)
    }

    /// Ends a session and deletes its keys in one revision.
    ///
    /// - Returns: how many keys, or `nil` when there is no such session.
    private mutating func end(
        _ session: SessionID, _ kind: OutboxRecord.Kind, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> Int? {
        guard let record = sessions.records.remove(session.rawValue) else { return nil }
        let keys = keyspace.attachedKeys(session)
        for key in keys {
            guard ClaimIndex.isReserved(key) else {
                keyspace.delete(key)
                auditKey(.keyDeleted, key, &context, &output)
                continue
            }
            withdraw(key, actor: record.principal, reason: kind.name, &context, &output)
        }
        keyspace.commit(into: &output.events)
        output.sessionChanges.append(.ended(session))
        audit(
            kind, session.description,
            [.init("keys", String(keys.count)), .init("principal", record.principal)], &context, &output)
        return keys.count
    }
}
