import CacheCore
import EsperTypes

extension Command {
    /// Refuses what breaks a limit, whatever the state. Called before proposing, and when applied.
    public func validate() throws(InvalidCommand) {
        switch self {
        case .put(let put): try put.validate()
        case .delete(let delete): try delete.range.validate()
        case .transaction(let transaction):
            let count = transaction.operationCount
            guard count <= Limits.transactionOperations else { throw .tooManyOperations(count) }
            try transaction.validate(depth: 1)
        case .grantSession(let id, let ttl, let label):
            if let id, id.rawValue == 0 || id.rawValue > UInt64(Int64.max) { throw .sessionID }
            let most = id == nil ? CoordinationLimits.maximumTTL : CoordinationLimits.maximumChosenTTL
            guard ttl >= CoordinationLimits.minimumTTL, ttl <= most else { throw .ttlOutOfRange }
            let count = label.utf8.count
            guard count <= CoordinationLimits.labelBytes else { throw .labelTooLong(count) }
        case .expireSessions(let sessions, _, _):
            guard sessions.count <= CoordinationLimits.sessionsPerExpiry else { throw .tooManySessions(sessions.count) }
        case .acquireLock(let request): try Self.validate(name: request.name)
        case .releaseLock(let name, _), .cancelLockWait(let name, _), .resign(let name, _),
            .cancelCandidacy(let name, _):
            try Self.validate(name: name)
        case .campaign(let name, _, let value), .proclaim(let name, _, let value):
            try Self.validate(name: name)
            guard value.count <= Limits.valueBytes else { throw .valueTooLong(value.count) }
        case .configure(let settings):
            guard settings.auditedPrefixes.count <= CoordinationLimits.auditedPrefixes else {
                throw .tooManyPrefixes(settings.auditedPrefixes.count)
            }
            guard settings.maximumOutboxRecords >= 0 else { throw .settingOutOfRange }
        case .record(let notes, _):
            for note in notes {
                let bytes = note.fields.reduce(note.subject.utf8.count) {
                    $0 + $1.name.utf8.count + $1.value.utf8.count
                }
                guard bytes <= CoordinationLimits.noteBytes else { throw .noteTooLarge }
            }
        case .foundMembers(let records): try Self.validate(founders: records)
        case .admitMember(let new): try new.validate()
        case .createJoinToken(let new): try new.validate()
        case .redeemJoinToken(let redemption): try redemption.validate()
        case .auth(let command): try command.validate()
        case .cache(let command):
            do throws(CacheCommandError) { try command.validate() } catch { throw .cache(error) }
        case .compact, .revokeSession, .registerClient, .acknowledgeOutbox, .noteMember, .forgetMember,
            .revokeJoinToken:
            break
        }
    }

    private static func validate(founders records: [MemberRecord]) throws(InvalidCommand) {
        guard (1...CoordinationLimits.members).contains(records.count) else { throw .memberCount(records.count) }
        for record in records { try record.described.validate() }
        // An ID after the highest must be left to give.
        guard Set(records.map(\.id)).count == records.count, Set(records.map(\.name)).count == records.count,
            records.allSatisfy({ $0.id.rawValue > 0 && $0.id.rawValue < .max })
        else { throw .memberName }
    }

    static func validate(name: String) throws(InvalidCommand) {
        let count = name.utf8.count
        guard count > 0, count <= CoordinationLimits.nameBytes else { throw .nameLength(count) }
    }
}

extension Command.Put {
    @inline(__always)
    func validate() throws(InvalidCommand) {
        guard !key.isEmpty else { throw .emptyKey }
        guard key.count <= Limits.keyBytes else { throw .keyTooLong(key.count) }
        guard value.count <= Limits.valueBytes else { throw .valueTooLong(value.count) }
    }
}

extension KeyRange {
    /// The empty lower key is the start of all keys, but no key itself. A range that ends before it starts has no keys, and
    /// nothing is wrong with that.
    func validate() throws(InvalidCommand) {
        guard lower.count <= Limits.keyBytes else { throw .keyTooLong(lower.count) }
        switch end {
        case .single: guard !lower.isEmpty else { throw .emptyKey }
        case .unbounded: break
        case .before(let upper):
            guard upper.count <= Limits.keyBytes else { throw .keyTooLong(upper.count) }
        }
    }
}

extension RangeRequest {
    /// Refuses what breaks a limit, whatever the state.
    public func validate() throws(InvalidCommand) {
        try range.validate()
        guard limit >= 0, maximumBytes >= 0 else { throw .negativeLimit }
    }
}

extension Transaction {
    /// Compares and operations of the whole tree.
    var operationCount: Int {
        (success + failure).reduce(compares.count) { count, operation in
            guard case .transaction(let inner) = operation else { return count + 1 }
            return count + 1 + inner.operationCount
        }
    }

    func validate(depth: Int) throws(InvalidCommand) {
        guard depth <= CoordinationLimits.transactionDepth else { throw .tooDeeplyNested }
        for compare in compares { try compare.range.validate() }
        for branch in [success, failure] {
            for operation in branch {
                switch operation {
                case .put(let put): try put.validate()
                case .delete(let delete): try delete.range.validate()
                case .range(let request): try request.validate()
                case .transaction(let inner): try inner.validate(depth: depth + 1)
                }
            }
            try Self.refuseDoubleChanges(in: branch)
        }
    }

    /// No key may be put twice, or put and deleted, by one run of the branch. Of an inner transaction both branches count,
    /// though not against each other: one of them runs.
    private static func refuseDoubleChanges(in branch: [Operation]) throws(InvalidCommand) {
        var puts: [(key: [UInt8], by: Int)] = []
        var deletions: [(range: KeyRange, by: Int)] = []
        for (place, operation) in branch.enumerated() {
            var changes = Changes()
            operation.collect(&changes)
            puts += changes.puts.map { ($0, place) }
            deletions += changes.deletions.map { ($0, place) }
        }
        puts.sort { $0.key.precedes($1.key) }
        for (left, right) in zip(puts, puts.dropFirst()) where left.key == right.key { throw .duplicateKey }
        for deletion in deletions {
            guard !puts.contains(where: { $0.by != deletion.by && deletion.range.contains($0.key) }) else {
                throw .duplicateKey
            }
        }
    }
}

/// What an operation may change.
private struct Changes {
    /// Each key once.
    var puts: [[UInt8]] = []
    var deletions: [KeyRange] = []
}

extension Transaction.Operation {
    fileprivate func collect(_ changes: inout Changes) {
        switch self {
        case .put(let put): changes.puts.append(put.key)
        case .delete(let delete): changes.deletions.append(delete.range)
        case .range: break
        case .transaction(let inner):
            var either = Changes()
            for operation in inner.success + inner.failure { operation.collect(&either) }
            either.puts.sort { $0.precedes($1) }
            for (position, key) in either.puts.enumerated() where position == 0 || either.puts[position - 1] != key {
                changes.puts.append(key)
            }
            changes.deletions += either.deletions
        }
    }
}
