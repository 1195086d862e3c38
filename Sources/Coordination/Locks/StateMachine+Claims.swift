import EsperTypes

// Claims made and given up by plain writes, as the recipes of etcd's clients do: a put enters the queue that its key names,
// a deletion leaves it. Both may be part of a transaction.
extension StateMachine {
    /// Refuses a put below a reserved prefix that is no claim of the session it is attached to.
    ///
    /// - Parameter entered: queues that got a claim by this command. Two of one revision would have one place, and one token.
    func admitClaim(_ put: Command.Put, _ entered: inout [ClaimIndex.Queue]) throws(Refusal) {
        guard let claim = ClaimIndex.claim(of: put.key) else { throw .reservedKey }
        let isThere = keyspace.live.value(for: put.key) != nil
        if !isThere, put.keepsValue || put.keepsSession { throw .keyNotFound }
        guard put.keepsSession || put.session == claim.session else { throw .reservedKey }
        guard sessions.contains(claim.session) else { throw .sessionNotFound(claim.session) }
        if !isThere {
            guard !entered.contains(claim.queue) else { throw .reservedKey }
            entered.append(claim.queue)
        }
        try admitAudited()
    }

    /// A claim that is not there is deleted without effect, as any key.
    func admitClaim(_ delete: Command.Delete) throws(Refusal) {
        guard ClaimIndex.claim(of: delete.range.lower) != nil else { throw .reservedKey }
    }

    /// Enters a queue, or changes the value of a claim, as part of the upcoming revision. One that is first then is granted
    /// when the command is done.
    mutating func performClaim(
        _ put: Command.Put, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> PutReply {
        guard let (queue, session) = ClaimIndex.claim(of: put.key) else {
            preconditionFailure("a put of no claim was admitted below a reserved prefix")
        }
        let (kind, name) = (ClaimIndex.kind(of: queue), ClaimIndex.name(of: queue))
        let value = put.keepsValue ? keyspace.live.value(for: put.key)?.value ?? [] : put.value
        if let previous = keyspace.put(put.key, value, session: session) {
            if kind == .election {
                let token = FencingToken(previous.createRevision.rawValue)
                audit(.electionProclaimed, name, Self.candidateFields(token, session, value), &context, &output)
            }
            return PutReply(previous: put.returnsPrevious ? previous : nil)
        }
        let token = FencingToken(keyspace.upcoming.rawValue)
        if claims.head(of: queue) == nil {
            context.orphan(queue)
        } else if kind == .lock {
            audit(.lockQueued, name, Self.tokenFields(token, session), &context, &output)
        } else {
            audit(.electionJoined, name, Self.candidateFields(token, session, value), &context, &output)
        }
        claims.claims.set(NumberedKey(queue, token.rawValue), session)
        return PutReply()
    }

    /// Leaves a queue as part of the upcoming revision.
    mutating func performClaim(
        _ delete: Command.Delete, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> DeleteReply {
        guard let claim = keyspace.live.value(for: delete.range.lower), let session = claim.session else {
            return DeleteReply(count: 0)
        }
        let queue = ClaimIndex.queue(ofKey: claim.key)
        let kind = ClaimIndex.kind(of: queue)
        let reason = kind == .lock ? OutboxRecord.Kind.lockReleased.name : "resigned"
        if !withdraw(claim.key, actor: nil, reason: reason, &context, &output) {
            output.departures.append(
                Departure(kind: kind, name: ClaimIndex.name(of: queue), session: session, cause: .givenUp))
        }
        return DeleteReply(count: 1, previous: delete.returnsPrevious ? [claim] : [])
    }
}
