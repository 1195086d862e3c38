public import EsperTypes

/// The entry being applied, as commands need it.
struct ApplyContext {
    let index: LogIndex
    let term: Term
    private let header: EnvelopeHeader
    private let payload: [UInt8]
    /// Queues whose holder went while this command ran, in order; their next claims are granted at its end.
    private(set) var orphanedQueues: [ClaimIndex.Queue] = []
    /// The same, to ask: an expiry may orphan thousands.
    private var orphaned: Set<ClaimIndex.Queue> = []
    /// Outbox records written for this entry.
    var ordinal: UInt32 = 0

    init(index: LogIndex, term: Term, header: EnvelopeHeader, payload: [UInt8]) {
        self.index = index
        self.term = term
        self.header = header
        self.payload = payload
    }

    var principal: String { header.principal(in: payload) }

    func isOrphaned(_ queue: ClaimIndex.Queue) -> Bool { orphaned.contains(queue) }

    mutating func orphan(_ queue: ClaimIndex.Queue) {
        if orphaned.insert(queue).inserted { orphanedQueues.append(queue) }
    }
}

extension StateMachine {
    /// History given back with each entry: more than an entry usually adds, so that a compaction is worked off.
    private static let trimmedRevisionsPerEntry = 8

    /// Applies a committed command entry. Never fails: what cannot be done or read has a typed refusal as its result.
    ///
    /// - Parameters:
    ///   - index: one above ``applied``.
    ///   - payload: an encoded ``Envelope``.
    ///   - output: what happened is appended.
    public mutating func apply(index: LogIndex, term: Term, payload: [UInt8], into output: inout ApplyOutput) {
        advance(to: index, term)
        let firstEvent = output.events.count
        let result = perform(index, term, payload, &output)
        link(result, payload, output.events[firstEvent...])
    }

    private mutating func perform(
        _ index: LogIndex, _ term: Term, _ payload: [UInt8], _ output: inout ApplyOutput
    ) -> CommandResult {
        var reader = ByteReader(payload)
        let header: EnvelopeHeader
        do {
            header = try EnvelopeHeader(from: &reader)
        } catch {
            output.malformedEntries.append(index)
            return .refused(.malformed(error))
        }
        time = max(time, header.time)
        let command: Command
        do {
            command = try Command(from: &reader)
            try reader.finish()
        } catch {
            output.malformedEntries.append(index)
            return answer(.refused(.malformed(error)), to: header.proposal, into: &output).result
        }
        var context = ApplyContext(index: index, term: term, header: header, payload: payload)
        guard let request = header.request else {
            let result = execute(command, &context, &output)
            return answer(result, to: header.proposal, into: &output).result
        }
        if let owner = requests.clients.value(for: request.client.rawValue)?.owner,
            !isSameUser(owner, as: context.principal)
        {
            return answer(.refused(.clientUnknown(request.client)), to: header.proposal, into: &output).result
        }
        switch requests.judge(request, at: index) {
        case .execute:
            let result = execute(command, &context, &output)
            let reply = answer(result, to: header.proposal, into: &output)
            requests.keep(reply, for: request)
            return reply.result
        case .repeatAnswer(let reply):
            output.results.append(.init(proposal: header.proposal, reply: reply, isDuplicate: true))
            return reply.result
        case .refuse(let refusal):
            return answer(.refused(refusal), to: header.proposal, into: &output).result
        }
    }

    /// Passes over a committed entry that is no command (a no-op or a configuration).
    public mutating func skip(index: LogIndex, term: Term) {
        advance(to: index, term)
        link(nil, [], [])
    }

    private mutating func advance(to index: LogIndex, _ term: Term) {
        precondition(index == applied.index.next, "entry \(index) applied after \(applied)")
        applied = EntryID(term: term, index: index)
        beginChainEpochIfDue()
        keyspace.trim(Self.trimmedRevisionsPerEntry)
    }

    private func answer(
        _ result: CommandResult, to proposal: ProposalID, into output: inout ApplyOutput
    ) -> CommandReply {
        let reply = CommandReply(index: applied.index, revision: revision, result: result)
        output.results.append(.init(proposal: proposal, reply: reply, isDuplicate: false))
        return reply
    }

    // MARK: Dispatch

    private mutating func execute(
        _ command: Command, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> CommandResult {
        do {
            try command.validate()
        } catch {
            return .refused(.invalid(error))
        }
        do throws(Refusal) {
            try authorize(command, by: context.principal)
            let result = try run(command, &context, &output)
            promote(&context, &output)
            return result
        } catch {
            precondition(!keyspace.hasPending, "a refused command has changed the keyspace: \(error)")
            return .refused(error)
        }
    }

    private mutating func run(
        _ command: Command, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        switch command {
        case .put(let put): return .put(try self.put(put, &context, &output))
        case .delete(let delete): return .deleted(try self.delete(delete, &context, &output))
        case .transaction(let transaction): return .transaction(try self.transact(transaction, &context, &output))
        case .compact(let through): return try compact(through, &context, &output)
        case .grantSession(let id, let ttl, let label):
            return try grantSession(id, ttl, label, &context, &output)
        case .revokeSession(let session): return try revokeSession(session, &context, &output)
        case .expireSessions(let sessions, let term, let knownThrough):
            return try expireSessions(sessions, term, knownThrough, &context, &output)
        case .acquireLock(let request): return try acquireLock(request, &context, &output)
        case .releaseLock(let name, let session):
            return try releaseLock(name, session, &context, &output)
        case .cancelLockWait(let name, let session):
            return try cancelLockWait(name, session, &context, &output)
        case .campaign(let election, let session, let value):
            return try campaign(election, session, value, &context, &output)
        case .proclaim(let election, let session, let value):
            return try proclaim(election, session, value, &context, &output)
        case .resign(let election, let session): return try resign(election, session, &context, &output)
        case .cancelCandidacy(let election, let session):
            return try cancelCandidacy(election, session, &context, &output)
        case .registerClient:
            let client = ClientID(context.index.rawValue)
            requests.register(client, owner: context.principal, at: context.index)
            return .clientRegistered(client)
        case .acknowledgeOutbox(let through):
            outbox.acknowledge(through: through)
            return .outboxAcknowledged(through: outbox.acknowledged)
        case .configure(let settings):
            self.settings = settings
            audit(
                .settingsChanged, "settings",
                [
                    .init("audited_prefixes", String(settings.auditedPrefixes.count)),
                    .init("maximum_outbox_records", String(settings.maximumOutboxRecords)),
                ],
                &context, &output)
            return .configured
        case .record(let notes, let term):
            if let term, term != context.term { throw .staleTerm(context.term) }
            for note in notes where settings.auditsCoordination {
                append(note.kind, note.subject, note.fields, context.principal, &context, &output)
            }
            return .recorded
        case .foundMembers(let records): return try foundMembers(records, &context, &output)
        case .admitMember(let new): return try admitMember(new, &context, &output)
        case .noteMember(let id, let isEnrolled, let incarnation):
            return try noteMember(id, isEnrolled, incarnation, &context, &output)
        case .forgetMember(let id): return try forgetMember(id, &context, &output)
        case .createJoinToken(let new): return try createJoinToken(new, &context, &output)
        case .revokeJoinToken(let id): return try revokeJoinToken(id, &context, &output)
        case .redeemJoinToken(let redemption): return try redeemJoinToken(redemption, &context, &output)
        case .auth(let command): return try changeAuth(command, &context, &output)
        case .cache(let command): return try changeCache(command, &context, &output)
        }
    }
}
