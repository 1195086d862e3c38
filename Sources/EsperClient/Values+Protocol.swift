internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import SwiftProtobuf

// Between the values of this library and the messages of the wire.

extension Commit {
    init(_ message: ProtoCommit) {
        revision = message.revision
        logIndex = message.logIndex
        term = message.term
    }
}

extension KeyValue {
    init(_ message: ProtoKeyValue) {
        key = [UInt8](message.key)
        value = [UInt8](message.value)
        createRevision = message.createRevision
        modRevision = message.modRevision
        version = message.version
        session = message.sessionID == 0 ? nil : SessionID(message.sessionID)
    }
}

extension KeyRange {
    var message: ProtoKeyRange {
        .with { range in
            switch self {
            case .key(let key): range.key = Data(key)
            case .prefix(let prefix): range.prefix = Data(prefix)
            case .interval(let start, let end):
                range.interval = .with {
                    $0.start = Data(start)
                    $0.end = Data(end ?? [])
                }
            }
        }
    }
}

extension Comparison {
    var message: ProtoCompare {
        .with { compare in
            compare.key = Data(key)
            compare.relation =
                switch relation {
                case .equal: .equal
                case .notEqual: .notEqual
                case .less: .less
                case .greater: .greater
                }
            switch operand {
            case .version(let number): (compare.target, compare.number) = (.version, number)
            case .createRevision(let number): (compare.target, compare.number) = (.createRevision, number)
            case .modRevision(let number): (compare.target, compare.number) = (.modRevision, number)
            case .session(let session): (compare.target, compare.number) = (.session, session.rawValue)
            case .value(let value): (compare.target, compare.value) = (.value, Data(value))
            }
        }
    }
}

extension TransactionStep {
    var message: ProtoOperation {
        .with { operation in
            switch self {
            case .put(let key, let value, let session):
                operation.put = .with {
                    $0.key = Data(key)
                    $0.value = Data(value)
                    $0.sessionID = session?.rawValue ?? 0
                }
            case .delete(let range):
                operation.delete = .with { $0.range = range.message }
            case .range(let range, let limit):
                operation.range = .with {
                    $0.range = range.message
                    $0.limit = limit
                }
            }
        }
    }
}

extension TransactionAnswer {
    init(_ message: ProtoTxnResponse) {
        commit = Commit(message.commit)
        succeeded = message.succeeded
        results = message.results.map { result in
            switch result.kind {
            case .delete(let deleted): .deleted(deleted.deleted)
            case .range(let range): .range(range.kvs.map(KeyValue.init), count: range.count, more: range.more)
            case .put, nil: .put
            }
        }
    }
}

extension Leadership {
    init(_ message: ProtoLeadership) {
        name = message.name
        session = SessionID(message.sessionID)
        token = FencingToken(message.fencingToken)
        value = [UInt8](message.value)
        modRevision = message.modRevision
    }
}

extension WatchEvent {
    init(_ message: ProtoEvent) {
        isDelete = message.kind == .delete
        pair = KeyValue(message.kv)
        previous = message.hasPrevious ? KeyValue(message.previous) : nil
    }
}

extension ClusterView {
    init(_ message: ProtoStatusResponse) {
        clusterID = message.clusterID
        leader = message.leader
        leaderEndpoint = message.leaderEndpoint
        term = message.term
        commitIndex = message.commitIndex
        appliedIndex = message.appliedIndex
        revision = message.revision
        members = message.members.map { member in
            Member(
                name: member.name, id: member.id, role: member.role, isVoter: member.voter,
                isReachable: member.reachable, appliedIndex: member.appliedIndex, matchIndex: member.matchIndex,
                version: member.version, address: member.address, zone: member.zone, endpoint: member.apiEndpoint)
        }
        answeredBy = message.answeredBy
        outboxPending = message.outboxPending
        catalog = message.catalog
        pendingChange = message.pendingChange
        enrollAddress = message.enrollAddress
        authorityFingerprint = message.authoritySha256
    }
}

extension MembershipChange {
    init(_ message: ProtoMembershipResponse) {
        logIndex = message.logIndex
        ids = message.ids
    }
}

extension Duration {
    /// Whole milliseconds, rounded up; never negative.
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        return UInt64(seconds) * 1000 + UInt64((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
