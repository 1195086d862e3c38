import EsperTypes

extension StateMachine {
    /// The most elements a listing answers with, whatever limit it asks for.
    private static let listingLimit = 10_000

    /// Answers a read from this replica's state, as far as the principal may see it.
    public func answer(_ query: Query, to principal: @autoclosure () -> String) -> QueryReply {
        do throws(Refusal) {
            try authorize(query, by: principal())
        } catch {
            return QueryReply(revision: revision, appliedIndex: applied.index, result: .refused(error))
        }
        return answer(query)
    }

    /// Answers a read from this replica's state, whoever asks.
    public func answer(_ query: Query) -> QueryReply {
        let result: QueryResult
        do throws(Refusal) {
            result = try find(query)
        } catch {
            result = .refused(error)
        }
        return QueryReply(revision: revision, appliedIndex: applied.index, result: result)
    }

    private func find(_ query: Query) throws(Refusal) -> QueryResult {
        switch query {
        case .range(let request):
            try valid { () throws(InvalidCommand) in try request.validate() }
            return .range(try keyspace.range(request))
        case .transaction(let transaction):
            guard transaction.isReadOnly else { throw .invalid(.notReadOnly) }
            try valid { () throws(InvalidCommand) in try Command.transaction(transaction).validate() }
            return .transaction(try answer(transaction))
        case .sessions(let after, let limit): return listSessions(after: after, limit: bounded(limit))
        case .session(let id, let withKeys): return .session(session(id, withKeys: withKeys))
        case .locks(let prefix, let after, let limit):
            let (found, more) = list(.lock, prefix: prefix, after: after, limit: bounded(limit))
            return .locks(found, more: more)
        case .elections(let prefix, let after, let limit):
            let (found, more) = list(.election, prefix: prefix, after: after, limit: bounded(limit))
            return .elections(found, more: more)
        case .lock(let name, let most):
            try validName(name)
            return .lock(claimState(ClaimIndex.queue(.lock, name), atMost: bounded(most)))
        case .election(let name, let most):
            try validName(name)
            return .election(claimState(ClaimIndex.queue(.election, name), atMost: bounded(most)))
        case .electionLeader(let name):
            try validName(name)
            return .electionLeader(leader(of: name))
        case .outbox(let after, let limit): return .outbox(outbox.records(after: after, limit: bounded(limit)))
        case .outboxStatus: return .outboxStatus(outboxStatus)
        case .settings: return .settings(settings)
        case .members: return .members(members)
        case .joinTokens: return .joinTokens(joinTokens)
        case .auth: return .auth(auth)
        case .authStatus: return .authStatus(auth.status)
        case .user(let name): return .user(try authUser(name))
        case .role(let name): return .role(try authRole(name))
        case .summary: return .summary(summary)
        case .binding(let name): return .binding(cache.binding(name, now: time))
        case .bindings(let prefix, let after, let limit):
            return .bindings(cache.bindings(prefix: prefix, after: after, limit: bounded(limit), now: time))
        case .cacheSummary: return .cacheSummary(cache.summary)
        case .shardMap: return .shardMap(cache.map)
        }
    }

    private func valid(_ body: () throws(InvalidCommand) -> Void) throws(Refusal) {
        do throws(InvalidCommand) { try body() } catch { throw .invalid(error) }
    }

    private func validName(_ name: String) throws(Refusal) {
        try valid { () throws(InvalidCommand) in try Command.validate(name: name) }
    }

    /// 0 and what is above the bound mean the bound.
    private func bounded(_ limit: Int) -> Int {
        limit <= 0 || limit > Self.listingLimit ? Self.listingLimit : limit
    }

    // MARK: Sessions

    private func session(_ id: SessionID, withKeys: Bool) -> SessionInfo? {
        guard let record = sessions.records.value(for: id.rawValue) else { return nil }
        return SessionInfo(
            id: id, ttl: record.ttl, principal: record.principal, label: record.label, grantedAt: record.grantedAt,
            keyCount: keyspace.attachedCount(id), keys: withKeys ? keyspace.attachedKeys(id) : [])
    }

    private func listSessions(after: SessionID?, limit: Int) -> QueryResult {
        var found: [SessionInfo] = []
        let start = after.map { $0.rawValue == .max ? $0.rawValue : $0.rawValue + 1 }
        for (id, record) in sessions.records.cursor(from: start) {
            if found.count == limit { return .sessions(found, more: true) }
            let session = SessionID(id)
            found.append(
                SessionInfo(
                    id: session, ttl: record.ttl, principal: record.principal, label: record.label,
                    grantedAt: record.grantedAt, keyCount: keyspace.attachedCount(session)))
        }
        return .sessions(found, more: false)
    }

    // MARK: Locks and elections

    private func claimState(_ queue: ClaimIndex.Queue, atMost limit: Int) -> LockState? {
        var found: [LockState.Claim] = []
        for (key, session) in claims.claims.cursor(from: NumberedKey(queue, 0)) {
            guard key.bytes == queue, found.count < limit else { break }
            let value = keyspace.live.value(for: ClaimIndex.key(queue, session))?.value ?? []
            found.append(LockState.Claim(session: session, token: FencingToken(key.number), value: value))
        }
        if found.isEmpty { return nil }
        return LockState(name: ClaimIndex.name(of: queue), claims: found, count: claims.count(of: queue))
    }

    private func list(
        _ kind: Grant.Kind, prefix: String, after: String?, limit: Int
    ) -> (found: [LockState], more: Bool) {
        let range = KeyRange.prefix(ClaimIndex.prefix(kind) + ClaimName.escaped(prefix))
        var start = NumberedKey(range.lower, 0)
        if let after {
            let last = NumberedKey(ClaimIndex.queue(kind, after), .max)
            if start.order(against: last, skipping: 0) < 0 { start = last }
        }
        var found: [LockState] = []
        while let (key, _) = nextClaim(from: start), range.contains(key.bytes) {
            if found.count == limit { return (found, true) }
            if let state = claimState(key.bytes, atMost: CoordinationLimits.listedClaims) { found.append(state) }
            start = NumberedKey(key.bytes, .max)
        }
        return (found, false)
    }

    private func nextClaim(from start: NumberedKey) -> (key: NumberedKey, value: SessionID)? {
        var cursor = claims.claims.cursor(from: start)
        return cursor.next()
    }

    private func leader(of election: String) -> ElectionLeader? {
        let queue = ClaimIndex.queue(.election, election)
        guard let head = claims.head(of: queue),
            let keyValue = keyspace.live.value(for: ClaimIndex.key(queue, head.session))
        else { return nil }
        return ElectionLeader(name: election, session: head.session, token: head.token, keyValue: keyValue)
    }

    // MARK: Sizes

    private var outboxStatus: OutboxStatus {
        let oldest = outbox.records(after: .zero, limit: 1).first
        return OutboxStatus(
            count: outbox.count, bound: settings.maximumOutboxRecords, oldest: oldest?.id, oldestTime: oldest?.time,
            newest: outbox.records.last?.key, acknowledgedThrough: outbox.acknowledged,
            namesSettled: isCacheProjected ? outbox.settled(at: applied.index) : nil)
    }

    private var summary: StateSummary {
        StateSummary(
            applied: applied, revision: revision, compactedRevision: compactedRevision, time: time,
            keys: keyspace.live.count, keyspaceBytes: keyspace.liveBytes, historyRevisions: keyspace.historyRevisions,
            sessions: sessions.count, attachedKeys: keyspace.attachments.count, claims: claims.claims.count,
            clients: requests.clients.count, outboxRecords: outbox.count)
    }
}
