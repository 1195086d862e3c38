internal import Coordination
internal import HTTPTypes
internal import RaftRuntime

/// One operation of the HTTP API: from this table requests are routed and checked, and `/openapi.json` is made.
struct Route: Sendable {
    /// How it answers.
    enum Action: Sendable {
        /// One JSON object.
        case call(@Sendable (RequestFields, CallContext) async throws -> JSONValue)
        /// As `call`, for work that waits for a grant and ends when the client goes.
        case wait(@Sendable (RequestFields, CallContext) async throws -> JSONValue)
        /// Server-sent events.
        case events(@Sendable (RequestFields, CallContext) throws -> EventSource)
        /// About this node, for machines that watch over it: open on the probe listener too.
        case probe(contentType: String, @Sendable (HTTPDoor) async -> (HTTPResponse.Status, String))
    }

    var method: HTTPRequest.Method
    var path: String
    var summary: String
    /// Members of the body, or parameters of the query when the method is GET.
    var fields: [Field] = []
    var answer: [Field] = []
    var action: Action

    var isProbe: Bool {
        if case .probe = action { true } else { false }
    }
}

extension Route {
    /// Every route the door serves.
    static let all: [Route] =
        keyspace + sessions + locks + elections + watches + cluster + membership + joinTokens
        + cache + probes

    static let requestID = Field(
        "request_id",
        .object([
            Field("client_id", .unsigned, isRequired: true, "From /v1/clients/register."),
            Field("sequence", .unsigned, isRequired: true, "Rises with each new command; a retry repeats it."),
            Field("acknowledged_through", .unsigned, "Answers up to here have arrived and may be forgotten."),
        ]), "Makes retries safe: the same id gets the first answer and has no second effect.")

    static let commit = [
        Field("outcome", .choice(["committed", "not_committed", "unknown"]), isRequired: true, "What became of it."),
        Field("revision", .unsigned, isRequired: true, "The keyspace revision afterwards."),
        Field("log_index", .unsigned, isRequired: true, "The log index of the command."),
    ]

    static let selectors = [
        Field("key", .bytes, "One key."),
        Field("prefix", .bytes, "Every key that begins so; empty: all keys."),
        Field("start", .bytes, "The first key."),
        Field("end", .bytes, "The first key that is not in the range; absent: to the end of the keyspace."),
    ]

    static let consistency = Field(
        "consistency", .choice(["linearizable", "local"]),
        "local: what this node has applied, never wrong, possibly old. Default: linearizable.")

    static let revision = Field("revision", .unsigned, isRequired: true, "The keyspace revision that was read.")
    static let session = Field("session_id", .unsigned, isRequired: true, "The session.")

    static let keyValue: Field.Kind = .object([
        Field("key", .bytes, isRequired: true, "The key."), Field("value", .bytes, isRequired: true, "The value."),
        Field("create_revision", .unsigned, isRequired: true, "Made in this revision."),
        Field("mod_revision", .unsigned, isRequired: true, "Last written in this revision."),
        Field("version", .unsigned, isRequired: true, "1 when created, one more with each put."),
        Field("session_id", .unsigned, isRequired: true, "The session whose end removes the key; 0: none."),
    ])

    static let leadership: Field.Kind = .optional(
        .object([
            Field("name", .text, isRequired: true, "The election."),
            Field("session_id", .unsigned, isRequired: true, "The elected session."),
            Field("fencing_token", .unsigned, isRequired: true, "Grows with every new leader."),
            Field("value", .bytes, isRequired: true, "What it proclaimed."),
            Field("mod_revision", .unsigned, isRequired: true, "When the value was last changed."),
        ]))

    /// A route whose body becomes one command of the log.
    static func command(
        _ path: String, _ summary: String, _ fields: [Field], answer: [Field] = [],
        _ command: @escaping @Sendable (RequestFields) throws -> Command,
        reply: @escaping @Sendable (CommandResult) -> [JSONValue.Member]
    ) -> Route {
        Route(
            method: .post, path: path, summary: summary, fields: fields + [requestID], answer: commit + answer,
            action: .call { fields, context in
                let operation = ServiceRequest.Operation.command(try command(fields), fields.requestID)
                return try Answers.committed(await context.call(operation), reply)
            })
    }

    /// A route that reads: GET with the fields in the query.
    static func query(
        _ path: String, _ summary: String, _ fields: [Field], answer: [Field],
        _ query: @escaping @Sendable (RequestFields) throws -> Query,
        reply: @escaping @Sendable (QueryResult) -> [JSONValue.Member]?
    ) -> Route {
        Route(
            method: .get, path: path, summary: summary, fields: fields + [consistency], answer: [revision] + answer,
            action: .call { fields, context in
                let operation = ServiceRequest.Operation.query(
                    try query(fields), linearizable: fields.isLinearizable)
                return try Answers.found(await context.call(operation), reply)
            })
    }
}
