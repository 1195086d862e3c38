import EsperTypes

extension StateMachine {
    /// Refuses a command that begins something audited while the outbox is full.
    func admitAudited() throws(Refusal) {
        guard !settings.auditsCoordination || outbox.count < settings.maximumOutboxRecords else { throw .outboxFull }
    }

    /// Whether writes to the key are recorded.
    @inline(__always)
    func isAudited(_ key: [UInt8]) -> Bool {
        !settings.auditedPrefixes.isEmpty && settings.auditedPrefixes.contains { key.starts(with: $0) }
    }

    func admitAudited(_ key: [UInt8]) throws(Refusal) {
        guard outbox.count < settings.maximumOutboxRecords || !isAudited(key) else { throw .outboxFull }
    }

    func admitAudited(_ range: KeyRange) throws(Refusal) {
        guard outbox.count >= settings.maximumOutboxRecords else { return }
        guard !settings.auditedPrefixes.contains(where: { KeyRange.prefix($0).overlaps(range) }) else {
            throw .outboxFull
        }
    }

    /// Records coordination, if it is audited.
    ///
    /// - Parameter actor: `nil` means the principal of the command.
    mutating func audit(
        _ kind: OutboxRecord.Kind, _ subject: String, _ fields: @autoclosure () -> [OutboxRecord.Field],
        actor: String? = nil, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) {
        guard settings.auditsCoordination else { return }
        append(kind, subject, fields(), actor ?? context.principal, &context, &output)
    }

    /// Records the change of a key, if its prefix is audited.
    mutating func auditKey(
        _ kind: OutboxRecord.Kind, _ key: [UInt8], _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) {
        guard isAudited(key) else { return }
        append(kind, String(decoding: key, as: UTF8.self), [], context.principal, &context, &output)
    }

    mutating func append(
        _ kind: OutboxRecord.Kind, _ subject: String, _ fields: [OutboxRecord.Field], _ actor: String,
        _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) {
        // A change that is not committed yet belongs to the revision in the making.
        let revision = keyspace.hasPending ? keyspace.upcoming : keyspace.revision
        outbox.append(
            OutboxRecord(
                id: OutboxRecord.ID(index: context.index, ordinal: context.ordinal), term: context.term, time: time,
                kind: kind, actor: actor, subject: subject, revision: revision, fields: fields))
        context.ordinal += 1
        output.outboxGrew = true
    }
}
