internal import Coordination
internal import EsperTypes

extension Route {
    private static let put = [
        Field("key", .bytes, isRequired: true, "The key."), Field("value", .bytes, isRequired: true, "The value."),
        Field("session_id", .unsigned, "The key is removed when this session ends; 0: never."),
        Field("want_previous", .boolean, "Answer with what the key held before."),
    ]

    private static let limits = [
        Field("limit", .unsigned, "At most this many pairs; 0: as many as one answer may hold."),
        Field("descending", .boolean, "In descending key order."),
        Field("keys_only", .boolean, "Without values."), Field("count_only", .boolean, "Only `count`, no pairs."),
    ]

    private static let wantPrevious = Field("want_previous", .boolean, "Answer with what was deleted.")

    private static let found = [
        Field("kvs", .list(keyValue), isRequired: true, "The pairs."),
        Field("count", .unsigned, isRequired: true, "Pairs in the range, beyond the limit too."),
        Field("more", .boolean, isRequired: true, "The list was cut: go on behind its last key."),
    ]

    private static let deleted = [
        Field("deleted", .unsigned, isRequired: true, "How many keys went."),
        Field("previous", .list(keyValue), isRequired: true, "What was deleted, when asked for."),
    ]

    private static let compare: Field.Kind = .object([
        Field("key", .bytes, isRequired: true, "The key."),
        Field(
            "target", .choice(["version", "create_revision", "mod_revision", "session", "value"]), isRequired: true,
            "A key that does not exist has 0 for each number, and equals no value."),
        Field("relation", .choice(["equal", "not_equal", "less", "greater"]), isRequired: true, "What must hold."),
        Field("number", .unsigned, "For every target but the value."), Field("value", .bytes, "For the value."),
    ])

    private static let operation: Field.Kind = .object([
        Field("put", .object(put), "Writes a key."), Field("delete", .object(selectors + [wantPrevious]), "Deletes."),
        Field("range", .object(selectors + limits), "Reads."),
    ])

    private static let operationResult: Field.Kind = .object([
        Field("put", .object([Field("previous", .optional(keyValue), "What it replaced.")]), "Of a put."),
        Field("delete", .object(deleted), "Of a delete."), Field("range", .object(found), "Of a range."),
    ])

    static let keyspace: [Route] = [
        command(
            "/v1/kv/put", "Writes one key.", put,
            answer: [Field("previous", .optional(keyValue), isRequired: true, "What the key held before.")],
            { .put($0.put()) },
            reply: { result in
                guard case .put(let put) = result else { return [] }
                return [.init("previous", Answers.keyValue(put.previous))]
            }),
        query(
            "/v1/kv/get", "Reads one key.",
            [
                Field("key", .bytes, isRequired: true, "The key."),
                Field("revision", .unsigned, "The keyspace as of this revision; 0: now."),
            ],
            answer: [Field("kv", .optional(keyValue), isRequired: true, "Null when the key does not exist.")],
            { .range(RangeRequest(.key($0.bytes("key") ?? []), revision: Revision($0.unsigned("revision")))) },
            reply: { result in
                guard case .range(let range) = result else { return nil }
                return [.init("kv", Answers.keyValue(range.keyValues.first))]
            }),
        query(
            "/v1/kv/range", "Reads keys in order.",
            selectors + limits + [Field("revision", .unsigned, "The keyspace as of this revision; 0: now.")],
            answer: found, { .range(try $0.rangeRequest()) },
            reply: { result in
                guard case .range(let range) = result else { return nil }
                return Answers.range(range)
            }),
        command(
            "/v1/kv/delete", "Deletes keys.", selectors + [wantPrevious], answer: deleted,
            { .delete(.init(try $0.range(), returnsPrevious: $0.boolean("want_previous"))) },
            reply: { result in
                guard case .deleted(let reply) = result else { return [] }
                return Answers.deleted(reply)
            }),
        command(
            "/v1/kv/txn", "Compares, then performs one of two lists of operations as one command.",
            [
                Field("compares", .list(compare), "All must hold for `success`; an empty list holds."),
                Field("success", .list(operation), "If they hold."), Field("failure", .list(operation), "If not."),
            ],
            answer: [
                Field("succeeded", .boolean, isRequired: true, "Whether every compare held."),
                Field("results", .list(operationResult), isRequired: true, "One per operation of the branch."),
            ],
            { .transaction(try $0.transaction()) },
            reply: { result in
                guard case .transaction(let reply) = result else { return [] }
                return Answers.transaction(reply)
            }),
        command(
            "/v1/kv/compact", "Forgets revisions below the given one; current values stay.",
            [Field("revision", .unsigned, isRequired: true, "The oldest revision to keep readable.")],
            { .compact(through: Revision($0.unsigned("revision"))) }, reply: { _ in [] }),
    ]
}

extension RequestFields {
    /// A key-value answer of one range call.
    private static let maximumRangeBytes = 3 << 20

    func put() -> Command.Put {
        Command.Put(
            key: bytes("key") ?? [], value: bytes("value") ?? [], session: session,
            returnsPrevious: boolean("want_previous"))
    }

    func rangeRequest() throws(HTTPFailure) -> RangeRequest {
        RangeRequest(
            try range(), revision: Revision(unsigned("revision")), limit: count("limit"),
            keysOnly: boolean("keys_only"), countOnly: boolean("count_only"),
            sort: boolean("descending") ? .init(by: .key, .descending) : nil, maximumBytes: Self.maximumRangeBytes)
    }

    func transaction() throws(HTTPFailure) -> Transaction {
        var transaction = Transaction()
        for compare in objects("compares") { transaction.compares.append(try compare.compare()) }
        for operation in objects("success") { transaction.success.append(try operation.operation()) }
        for operation in objects("failure") { transaction.failure.append(try operation.operation()) }
        return transaction
    }

    private func compare() throws(HTTPFailure) -> Compare {
        let target: Compare.Target
        let number = unsigned("number")
        switch text("target") {
        case "version": target = .version(number)
        case "create_revision": target = .createRevision(Revision(number))
        case "mod_revision": target = .modRevision(Revision(number))
        case "session": target = .session(number == 0 ? nil : SessionID(number))
        default:
            guard let value = bytes("value") else { throw .invalid("a compare of the value needs 'value'") }
            target = .value(value)
        }
        let relation: Compare.Relation
        switch text("relation") {
        case "equal": relation = .equal
        case "not_equal": relation = .notEqual
        case "less": relation = .less
        default: relation = .greater
        }
        return Compare(.key(bytes("key") ?? []), relation, target)
    }

    private func operation() throws(HTTPFailure) -> Transaction.Operation {
        switch (object("put"), object("delete"), object("range")) {
        case (let put?, nil, nil): return .put(put.put())
        case (nil, let delete?, nil):
            return .delete(.init(try delete.range(), returnsPrevious: delete.boolean("want_previous")))
        case (nil, nil, let range?): return .range(try range.rangeRequest())
        default: throw .invalid("an operation is exactly one of 'put', 'delete' and 'range'")
        }
    }
}
