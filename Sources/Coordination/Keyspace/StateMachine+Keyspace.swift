import EsperTypes

extension StateMachine {
    mutating func put(
        _ put: Command.Put, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> PutReply {
        var entered: [ClaimIndex.Queue] = []
        try admit(put, &entered)
        let reply = perform(put, &context, &output)
        keyspace.commit(into: &output.events)
        return reply
    }

    mutating func delete(
        _ delete: Command.Delete, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> DeleteReply {
        try admit(delete)
        let reply = perform(delete, &context, &output)
        keyspace.commit(into: &output.events)
        return reply
    }

    mutating func compact(
        _ through: Revision, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        try keyspace.compact(through: through)
        audit(.compacted, "keyspace", [.init("through", through.description)], &context, &output)
        return .compacted(through: through)
    }

    // MARK: Transactions

    mutating func transact(
        _ transaction: Transaction, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> TransactionReply {
        let plan = plan(transaction)
        var entered: [ClaimIndex.Queue] = []
        try admit(plan, &entered)
        // An answer too large is only known at the end; the state before costs O(1) to keep.
        let before = plan.canGrow ? self : nil
        let contextBefore = context
        let (grew, departures) = (output.outboxGrew, output.departures.count)
        let reply = try perform(plan, &context, &output)
        if let before, reply.bytes > CoordinationLimits.transactionReplyBytes {
            self = before
            context = contextBefore
            output.outboxGrew = grew
            output.departures.removeSubrange(departures...)
            throw .replyTooLarge
        }
        keyspace.commit(into: &output.events)
        return reply
    }

    /// A transaction that changes nothing, answered as a read.
    func answer(_ transaction: Transaction) throws(Refusal) -> TransactionReply {
        let plan = plan(transaction)
        var entered: [ClaimIndex.Queue] = []
        try admit(plan, &entered)
        return try read(plan)
    }

    /// The branches that run, chosen by the state before the first operation.
    private struct Plan {
        enum Step {
            case put(Command.Put)
            case delete(Command.Delete)
            case range(RangeRequest)
            indirect case transaction(Plan)
        }

        var succeeded: Bool
        var steps: [Step]

        /// Whether the answer's size depends on the state.
        var canGrow: Bool {
            steps.contains {
                switch $0 {
                case .put(let put): put.returnsPrevious
                case .delete(let delete): delete.returnsPrevious
                case .range(let request): !request.countOnly
                case .transaction(let inner): inner.canGrow
                }
            }
        }
    }

    private func plan(_ transaction: Transaction) -> Plan {
        let succeeded = transaction.compares.allSatisfy(keyspace.holds)
        let branch = succeeded ? transaction.success : transaction.failure
        return Plan(
            succeeded: succeeded,
            steps: branch.map {
                switch $0 {
                case .put(let put): .put(put)
                case .delete(let delete): .delete(delete)
                case .range(let request): .range(request)
                case .transaction(let inner): .transaction(plan(inner))
                }
            })
    }

    /// - Parameter entered: the queues that operations before these put a new claim in.
    private func admit(_ plan: Plan, _ entered: inout [ClaimIndex.Queue]) throws(Refusal) {
        for step in plan.steps {
            switch step {
            case .put(let put): try admit(put, &entered)
            case .delete(let delete): try admit(delete)
            case .range(let request): _ = try keyspace.readable(request.revision)
            case .transaction(let inner): try admit(inner, &entered)
            }
        }
    }

    private mutating func perform(
        _ plan: Plan, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> TransactionReply {
        var reply = TransactionReply(succeeded: plan.succeeded, replies: [])
        reply.replies.reserveCapacity(plan.steps.count)
        for step in plan.steps {
            switch step {
            case .put(let put): reply.replies.append(.put(perform(put, &context, &output)))
            case .delete(let delete): reply.replies.append(.delete(perform(delete, &context, &output)))
            case .range(let request): reply.replies.append(.range(try keyspace.range(bounded(request))))
            case .transaction(let inner):
                reply.replies.append(.transaction(try perform(inner, &context, &output)))
            }
        }
        return reply
    }

    private func read(_ plan: Plan) throws(Refusal) -> TransactionReply {
        var reply = TransactionReply(succeeded: plan.succeeded, replies: [])
        for step in plan.steps {
            switch step {
            case .range(let request): reply.replies.append(.range(try keyspace.range(bounded(request))))
            case .transaction(let inner): reply.replies.append(.transaction(try read(inner)))
            case .put, .delete: throw .invalid(.notReadOnly)
            }
        }
        guard reply.bytes <= CoordinationLimits.transactionReplyBytes else { throw .replyTooLarge }
        return reply
    }

    /// No single range walks far beyond what the whole answer may hold.
    private func bounded(_ request: RangeRequest) -> RangeRequest {
        guard request.maximumBytes == 0, request.limit == 0 else { return request }
        var bounded = request
        // One more than fits, so that the answer is refused and not cut.
        bounded.limit = CoordinationLimits.transactionReplyBytes / 128 + 1
        return bounded
    }

    // MARK: Single operations

    private func admit(_ put: Command.Put, _ entered: inout [ClaimIndex.Queue]) throws(Refusal) {
        if ClaimIndex.isReserved(put.key) { return try admitClaim(put, &entered) }
        if let session = put.session, !put.keepsSession {
            guard sessions.contains(session) else { throw .sessionNotFound(session) }
        }
        if put.keepsValue || put.keepsSession, keyspace.live.value(for: put.key) == nil { throw .keyNotFound }
        try admitAudited(put.key)
    }

    private func admit(_ delete: Command.Delete) throws(Refusal) {
        if case .single = delete.range.end {
            guard !ClaimIndex.isReserved(delete.range.lower) else { return try admitClaim(delete) }
        } else {
            for reserved in ClaimIndex.reserved where reserved.overlaps(delete.range) { throw .reservedKey }
        }
        try admitAudited(delete.range)
    }

    private mutating func perform(
        _ put: Command.Put, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> PutReply {
        if ClaimIndex.isReserved(put.key) { return performClaim(put, &context, &output) }
        var value = put.value
        var session = put.session ?? KeyValue.noSession
        if put.keepsValue || put.keepsSession, let now = keyspace.live.value(for: put.key) {
            if put.keepsValue { value = now.value }
            if put.keepsSession { session = now.storage.session }
        }
        let previous = keyspace.put(put.key, value, session: session)
        auditKey(.keyPut, put.key, &context, &output)
        return PutReply(previous: put.returnsPrevious ? previous : nil)
    }

    private mutating func perform(
        _ delete: Command.Delete, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) -> DeleteReply {
        var doomed: [KeyValue] = []
        if case .single = delete.range.end {
            if ClaimIndex.isReserved(delete.range.lower) { return performClaim(delete, &context, &output) }
            if let now = keyspace.live.value(for: delete.range.lower) { doomed.append(now) }
        } else {
            for version in keyspace.versions(in: delete.range, at: Revision(.max)) { doomed.append(version) }
        }
        for version in doomed {
            keyspace.delete(version.key)
            auditKey(.keyDeleted, version.key, &context, &output)
        }
        return DeleteReply(count: doomed.count, previous: delete.returnsPrevious ? doomed : [])
    }
}
