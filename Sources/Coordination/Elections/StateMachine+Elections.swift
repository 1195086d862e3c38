import EsperTypes

extension StateMachine {
    mutating func campaign(
        _ election: String, _ session: SessionID, _ value: [UInt8], _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard sessions.contains(session) else { throw .sessionNotFound(session) }
        let queue = ClaimIndex.queue(.election, election)
        let key = ClaimIndex.key(queue, session)
        let leader = claims.head(of: queue)
        if let claim = keyspace.live.value(for: key) {
            let token = FencingToken(claim.createRevision.rawValue)
            if claim.value != value {
                try admitAudited()
                keyspace.put(key, value, session: session)
                keyspace.commit(into: &output.events)
                audit(
                    .electionProclaimed, election, Self.candidateFields(token, session, value), &context, &output)
            }
            return .election(
                ElectionReply(token: token, isElected: leader?.token == token, leader: leader?.token ?? token))
        }
        try admitAudited()
        let token = enqueue(queue, key, session, value, &output)
        if let leader {
            audit(.electionJoined, election, Self.candidateFields(token, session, value), &context, &output)
            return .election(ElectionReply(token: token, isElected: false, leader: leader.token))
        }
        grant(queue, token, session, &context, &output)
        return .election(ElectionReply(token: token, isElected: true, leader: token))
    }

    mutating func proclaim(
        _ election: String, _ session: SessionID, _ value: [UInt8], _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        let queue = ClaimIndex.queue(.election, election)
        let key = ClaimIndex.key(queue, session)
        guard let claim = keyspace.live.value(for: key) else { throw .candidateNotFound }
        let token = FencingToken(claim.createRevision.rawValue)
        guard claims.head(of: queue)?.token == token else { throw .notElected }
        try admitAudited()
        keyspace.put(key, value, session: session)
        keyspace.commit(into: &output.events)
        audit(.electionProclaimed, election, Self.candidateFields(token, session, value), &context, &output)
        return .proclaimed
    }

    mutating func resign(
        _ election: String, _ session: SessionID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        let key = ClaimIndex.key(ClaimIndex.queue(.election, election), session)
        guard keyspace.live.value(for: key) != nil else { throw .candidateNotFound }
        let wasElected = withdraw(key, actor: nil, reason: "resigned", &context, &output)
        keyspace.commit(into: &output.events)
        if !wasElected {
            output.departures.append(Departure(kind: .election, name: election, session: session, cause: .givenUp))
        }
        return .resigned(wasElected: wasElected)
    }

    /// Stops standing. A session that was elected meanwhile stays so, for the reason given at ``cancelLockWait``.
    mutating func cancelCandidacy(
        _ election: String, _ session: SessionID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        let queue = ClaimIndex.queue(.election, election)
        let key = ClaimIndex.key(queue, session)
        guard let claim = keyspace.live.value(for: key) else { throw .candidateNotFound }
        let token = FencingToken(claim.createRevision.rawValue)
        guard claims.head(of: queue)?.token != token else {
            return .election(ElectionReply(token: token, isElected: true, leader: token))
        }
        withdraw(key, actor: nil, reason: "candidacy cancelled", &context, &output)
        keyspace.commit(into: &output.events)
        output.departures.append(Departure(kind: .election, name: election, session: session, cause: .waitEnded))
        return .resigned(wasElected: false)
    }

    /// The value is told by its size: records hold no contents.
    static func candidateFields(
        _ token: FencingToken, _ session: SessionID, _ value: [UInt8]
    ) -> [OutboxRecord.Field] {
        [
            .init("token", token.description), .init("session", session.description),
            .init("value_bytes", String(value.count)),
        ]
    }
}
