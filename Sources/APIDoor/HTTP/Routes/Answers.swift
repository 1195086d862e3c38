internal import Coordination
internal import EsperTypes
internal import RaftRuntime

/// Replies of the node as JSON.
enum Answers {
    /// The answer to a command, or why there is none.
    static func committed(
        _ body: ServiceReply.Body, _ reply: (CommandResult) -> [JSONValue.Member]
    ) throws(HTTPFailure) -> JSONValue {
        switch body {
        case .command(let command):
            if let refusal = command.result.refusal { throw HTTPFailure(refusal) }
            return .object(
                commit(.committed, command.revision.rawValue, command.index.rawValue) + reply(command.result))
        case .failed(let failure): throw HTTPFailure(failure)
        case .query, .keptAlive, .timeToLive, .watch, .status, .stateCopy, .transferred, .membersChanged, .done:
            throw .unexpected
        }
    }

    /// The answer to a query, or why there is none.
    static func found(
        _ body: ServiceReply.Body, _ reply: (QueryResult) -> [JSONValue.Member]?
    ) throws(HTTPFailure) -> JSONValue {
        switch body {
        case .query(let query):
            if case .refused(let refusal) = query.result { throw HTTPFailure(refusal) }
            guard let members = reply(query.result) else { throw .unexpected }
            return .object([.init("revision", .unsigned(query.revision.rawValue))] + members)
        case .failed(let failure): throw HTTPFailure(failure)
        case .command, .keptAlive, .timeToLive, .watch, .status, .stateCopy, .transferred, .membersChanged, .done:
            throw .unexpected
        }
    }

    static func commit(_ outcome: Outcome, _ revision: UInt64, _ index: UInt64) -> [JSONValue.Member] {
        [
            .init("outcome", .text(outcome.rawValue)), .init("revision", .unsigned(revision)),
            .init("log_index", .unsigned(index)),
        ]
    }

    /// `NAME` when the bytes are valid UTF-8, `NAME_base64` otherwise.
    static func bytes(_ name: String, _ bytes: [UInt8]) -> JSONValue.Member {
        if let text = String(validating: bytes, as: UTF8.self) { return .init(name, .text(text)) }
        return .init(name + "_base64", .text(Base64Text.encoded(bytes)))
    }

    static func keyValue(_ value: KeyValue) -> JSONValue {
        .object([
            bytes("key", value.key), bytes("value", value.value),
            .init("create_revision", .unsigned(value.createRevision.rawValue)),
            .init("mod_revision", .unsigned(value.modRevision.rawValue)),
            .init("version", .unsigned(value.version)),
            .init("session_id", .unsigned(value.session?.rawValue ?? 0)),
        ])
    }

    static func keyValue(_ value: KeyValue?) -> JSONValue { value.map { keyValue($0) } ?? .null }

    static func range(_ reply: RangeReply) -> [JSONValue.Member] {
        [
            .init("kvs", .list(reply.keyValues.map { keyValue($0) })), .init("count", .unsigned(UInt64(reply.count))),
            .init("more", .boolean(reply.more)),
        ]
    }

    static func deleted(_ reply: DeleteReply) -> [JSONValue.Member] {
        [
            .init("deleted", .unsigned(UInt64(reply.count))),
            .init("previous", .list(reply.previous.map { keyValue($0) })),
        ]
    }

    static func operation(_ reply: TransactionReply.OperationReply) -> JSONValue {
        switch reply {
        case .put(let put): .object([.init("put", .object([.init("previous", keyValue(put.previous))]))])
        case .delete(let delete): .object([.init("delete", .object(deleted(delete)))])
        case .range(let range): .object([.init("range", .object(self.range(range)))])
        case .transaction(let inner): .object([.init("txn", .object(transaction(inner)))])
        }
    }

    static func transaction(_ reply: TransactionReply) -> [JSONValue.Member] {
        [
            .init("succeeded", .boolean(reply.succeeded)),
            .init("results", .list(reply.replies.map { operation($0) })),
        ]
    }

    static func leadership(_ leader: ElectionLeader?) -> JSONValue {
        guard let leader else { return .null }
        return .object([
            .init("name", .text(leader.name)), .init("session_id", .unsigned(leader.session.rawValue)),
            .init("fencing_token", .unsigned(leader.token.rawValue)), bytes("value", leader.keyValue.value),
            .init("mod_revision", .unsigned(leader.keyValue.modRevision.rawValue)),
        ])
    }

    static func lock(_ lock: LockState) -> JSONValue {
        .object([
            .init("name", .text(lock.name)),
            .init("holder_session_id", .unsigned(lock.holder?.session.rawValue ?? 0)),
            .init("fencing_token", .unsigned(lock.holder?.token.rawValue ?? 0)),
            .init("waiting", .unsigned(UInt64(max(lock.count - 1, 0)))),
        ])
    }

    static func status(_ status: ClusterStatus, _ facts: NodeFacts) -> JSONValue {
        let members = status.members.map { member in
            JSONValue.object([
                "name": .text(member.name), "id": .text(member.id.description), "role": .text(member.role),
                "voter": .boolean(member.isVoter), "reachable": .boolean(member.isReachable),
                "applied_index": .unsigned(member.appliedIndex.rawValue),
                "match_index": .unsigned(member.matchIndex.rawValue), "version": .text(member.version),
                "address": .text(member.address), "zone": .text(member.zone),
                "api_address": .text(member.apiAddress),
            ])
        }
        return .object([
            "cluster_id": .text(status.clusterID.description), "leader": status.leader.map(JSONValue.text) ?? .null,
            "leader_api_address": status.leaderAPIAddress.map(JSONValue.text) ?? .null,
            "term": .unsigned(status.term.rawValue), "commit_index": .unsigned(status.commitIndex.rawValue),
            "applied_index": .unsigned(status.appliedIndex.rawValue),
            "revision": .unsigned(status.revision.rawValue), "members": .list(members),
            "pending_change": status.pendingChange.map(JSONValue.text) ?? .null,
            "answered_by": .text(status.answeredBy), "outbox_pending": .unsigned(UInt64(status.outboxPending)),
            "catalog": .text(facts.catalog.rawValue),
            "enroll_address": (facts.enrollment?.address.description).map(JSONValue.text) ?? .null,
            "authority_sha256": (facts.enrollment?.authorityFingerprint).map(JSONValue.text) ?? .null,
        ])
    }
}

extension JSONValue.Member {
    init(_ name: String, _ value: JSONValue) {
        self.init(name: name, value: value)
    }
}
