import EsperTypes

// What a read costs, told before it is made: whoever has others to serve meanwhile leaves the long ones to another thread.
extension Keyspace {
    /// How many versions of keys a range request looks at, at most. O(log n).
    package func effort(of request: RangeRequest) -> Int {
        if case .single = request.range.end { return 1 }
        let isLatest = request.revision == .zero || !sees(history: request.revision)
        if isLatest, request.countOnly { return 1 }
        let live = count(in: request.range)
        guard isLatest else { return live + supersededCount(in: request.range) }
        return request.limit > 0 && request.isAnsweredInOrder ? min(live, request.limit) : live
    }

    private func supersededCount(in range: KeyRange) -> Int {
        let below = superseded.rank(of: NumberedKey(range.lower, 0))
        switch range.end {
        case .single: return 1
        case .unbounded: return superseded.count - below
        case .before(let upper): return max(0, superseded.rank(of: NumberedKey(upper, 0)) - below)
        }
    }

    fileprivate func effort(of transaction: Transaction) -> Int {
        let compares = transaction.compares.reduce(0) { $0 + count(in: $1.range) }
        return (transaction.success + transaction.failure).reduce(compares) { sum, operation in
            switch operation {
            case .range(let request): sum + effort(of: request)
            case .transaction(let inner): sum + effort(of: inner)
            case .put, .delete: sum + 1
            }
        }
    }
}

extension StateMachine {
    /// How many versions of keys answering a query looks at, at most; what has a bound of its own counts for nothing.
    /// O(log n) for each range in it.
    package func effort(of query: Query) -> Int {
        switch query {
        case .range(let request): keyspace.effort(of: request)
        case .transaction(let transaction): keyspace.effort(of: transaction)
        case .sessions, .session, .locks, .lock, .elections, .election, .electionLeader, .outbox, .outboxStatus,
            .settings, .members, .joinTokens, .auth, .authStatus, .user, .role, .summary, .binding,
            .cacheSummary, .shardMap:
            0
        // What is evicted is looked at too.
        case .bindings: min(cache.names.count, CacheTable.examinedNames)
        }
    }
}

extension RangeRequest {
    /// Neither sorted otherwise nor filtered: the walk ends with the last key that is shown.
    fileprivate var isAnsweredInOrder: Bool {
        (sort.map { $0.key == .key && $0.order == .ascending } ?? true) && minimumModRevision == .zero
            && maximumModRevision == .zero && minimumCreateRevision == .zero && maximumCreateRevision == .zero
    }
}
