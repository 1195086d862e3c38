internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import RaftRuntime

// Sessions, locks and elections.
extension Route {
    private static let maximumKeepAlives = 1024

    private static let name = Field("name", .text, isRequired: true, "The name, 1 to 1024 bytes.")
    private static let wait = Field(
        "wait_ms", .unsigned, "How long to wait; 0: answer at once. A `timeout` in the query bounds it too.")
    private static let value = Field("value", .bytes, "What the leader proclaims.")

    private static let page = [
        Field("limit", .unsigned, "At most this many, and never more than 1,000; 0: as many as one answer may hold."),
        Field("page_token", .text, "`next_page_token` of the page before; absent: from the start."),
    ]
    private static let nextPageToken = Field(
        "next_page_token", .text, isRequired: true, "Empty: there are no more. Each page has its own revision.")

    static let sessions: [Route] = [
        command(
            "/v1/sessions/grant", "Opens a session.",
            [
                Field(
                    "ttl_ms", .unsigned, isRequired: true,
                    "How long it lives without a keep-alive: from 100 ms to 24 h."),
                Field("label", .text, "For people: who holds it. At most 256 bytes."),
            ],
            answer: [
                Field("session_id", .unsigned, isRequired: true, "The new session."),
                Field("ttl_ms", .unsigned, isRequired: true, "What was granted."),
            ],
            {
                .grantSession(
                    ttl: .milliseconds(Int64(clamping: $0.unsigned("ttl_ms"))), label: $0.text("label") ?? "")
            },
            reply: { result in
                guard case .sessionGranted(let session, let ttl) = result else { return [] }
                return [
                    .init("session_id", .unsigned(session.rawValue)), .init("ttl_ms", .unsigned(ttl.milliseconds)),
                ]
            }),
        Route(
            method: .post, path: "/v1/sessions/keep-alive",
            summary: "Renews sessions; a quorum confirms it, nothing is written.",
            fields: [Field("session_ids", .list(.unsigned), isRequired: true, "1 to 1024 sessions.")],
            answer: [
                Field(
                    "sessions",
                    .list(
                        .object([
                            session,
                            Field("alive", .boolean, isRequired: true, "False: it has ended, with all its keys."),
                            Field("ttl_ms", .unsigned, isRequired: true, "How long it now lives."),
                        ])), isRequired: true, "In the order asked.")
            ],
            action: .call { try await keepAlive($0, $1) }),
        command(
            "/v1/sessions/revoke", "Ends a session now, with every key attached to it.", [session],
            answer: [Field("deleted", .unsigned, isRequired: true, "Keys removed with it.")],
            { .revokeSession($0.sessionID) },
            reply: { result in
                guard case .sessionEnded(_, let keys) = result else { return [] }
                return [.init("deleted", .unsigned(UInt64(keys)))]
            }),
        query(
            "/v1/sessions", "Lists sessions, in the order in which they were granted.", page,
            answer: [
                Field(
                    "sessions",
                    .list(
                        .object([
                            session, Field("ttl_ms", .unsigned, isRequired: true, "Its time to live."),
                            Field("label", .text, isRequired: true, "What its owner calls it."),
                            Field("principal", .text, isRequired: true, "Who opened it."),
                            Field("keys", .unsigned, isRequired: true, "Keys attached to it."),
                        ])), isRequired: true, "One page."), nextPageToken,
            ],
            { fields in
                guard let after = PageToken.session(fields.text("page_token") ?? "") else {
                    throw HTTPFailure.invalid(PageToken.refusal)
                }
                return .sessions(after: after, limit: PageToken.limit(fields.count("limit")))
            },
            reply: { result in
                guard case .sessions(let sessions, let more) = result else { return nil }
                let list = sessions.map { session in
                    JSONValue.object([
                        "session_id": .unsigned(session.id.rawValue), "ttl_ms": .unsigned(session.ttl.milliseconds),
                        "label": .text(session.label), "principal": .text(session.principal),
                        "keys": .unsigned(UInt64(session.keyCount)),
                    ])
                }
                return [
                    .init("sessions", .list(list)),
                    .init("next_page_token", .text(PageToken.next(behind: sessions, more: more))),
                ]
            }),
    ]

    private static func keepAlive(_ fields: RequestFields, _ context: CallContext) async throws -> JSONValue {
        guard case .list(let values)? = fields.value["session_ids"], (1...maximumKeepAlives).contains(values.count)
        else { throw HTTPFailure.invalid("'session_ids' must name 1 to \(maximumKeepAlives) sessions") }
        let sessions = values.compactMap { if case .unsigned(let number) = $0 { SessionID(number) } else { nil } }
        // All at once: they share one confirmation by the quorum.
        let bodies = await withTaskGroup(of: (Int, ServiceReply.Body).self) { group in
            for (index, session) in sessions.enumerated() {
                group.addTask { (index, await context.call(.keepAlive(session))) }
            }
            return await group.reduce(into: [Int: ServiceReply.Body]()) { $0[$1.0] = $1.1 }
        }
        var states: [JSONValue] = []
        for (index, session) in sessions.enumerated() {
            let ttl: Duration?
            switch bodies[index] {
            case .keptAlive(let remaining)?: ttl = remaining
            case .failed(let failure)? where failure.code == .sessionNotFound: ttl = nil
            case .failed(let failure)?: throw HTTPFailure(failure)
            default: throw HTTPFailure.unexpected
            }
            states.append(
                .object([
                    "session_id": .unsigned(session.rawValue), "alive": .boolean(ttl != nil),
                    "ttl_ms": .unsigned(ttl?.milliseconds ?? 0),
                ]))
        }
        return .object(["sessions": .list(states)])
    }

    static let locks: [Route] = [
        Route(
            method: .post, path: "/v1/locks/acquire",
            summary: "Acquires a lock, first come, first served. A wait that ends leaves the queue.",
            fields: [name, session, wait, requestID],
            answer: commit + [
                Field("granted", .boolean, isRequired: true, "False: it was held all the time."),
                Field("fencing_token", .unsigned, isRequired: true, "For guarded resources; 0 when not granted."),
                Field("holder_session_id", .unsigned, isRequired: true, "When not granted: who holds it; else 0."),
            ],
            action: .wait { fields, context in
                let waits = fields.unsigned("wait_ms") > 0
                let command = Command.acquireLock(
                    LockRequest(name: fields.text("name") ?? "", session: fields.sessionID, waits: waits))
                let body = await claim(command, fields, context)
                let holder = holder(of: body)
                if holder.isUngranted {
                    return .object(Answers.commit(.notCommitted, 0, 0) + lock(nil, holder: holder.session))
                }
                return try Answers.committed(body) { result in
                    if case .lock(let reply) = result, reply.isHeld { lock(reply.token) } else { lock(nil) }
                }
            }),
        command(
            "/v1/locks/release", "Gives a lock up, or leaves its queue.", [name, session],
            answer: [Field("released", .boolean, isRequired: true, "True when the session held the lock.")],
            { .releaseLock(name: $0.text("name") ?? "", session: $0.sessionID) },
            reply: { result in
                guard case .lockReleased(let wasHeld) = result else { return [] }
                return [.init("released", .boolean(wasHeld))]
            }),
        query(
            "/v1/locks", "Lists locks that are held.", [Field("prefix", .text, "Locks whose name begins so.")] + page,
            answer: [
                Field(
                    "locks",
                    .list(
                        .object([
                            name, Field("holder_session_id", .unsigned, isRequired: true, "Who holds it."),
                            Field("fencing_token", .unsigned, isRequired: true, "The holder's token."),
                            Field("waiting", .unsigned, isRequired: true, "Sessions in the queue behind it."),
                        ])), isRequired: true, "One page."), nextPageToken,
            ],
            {
                .locks(
                    prefix: $0.text("prefix") ?? "", after: PageToken.lock($0.text("page_token") ?? ""),
                    limit: PageToken.limit($0.count("limit")))
            },
            reply: { result in
                guard case .locks(let locks, let more) = result else { return nil }
                return [
                    .init("locks", .list(locks.map { Answers.lock($0) })),
                    .init("next_page_token", .text(PageToken.next(behind: locks, more: more))),
                ]
            }),
    ]

    static let elections: [Route] = [
        Route(
            method: .post, path: "/v1/elections/campaign",
            summary: "Stands for election and waits to lead. A wait that ends is no candidacy any more.",
            fields: [name, session, value, wait, requestID],
            answer: commit + [
                Field("elected", .boolean, isRequired: true, "Whether the session leads."),
                Field("fencing_token", .unsigned, isRequired: true, "The leader's token; 0 when not elected."),
            ],
            action: .wait { fields, context in
                let command = Command.campaign(
                    election: fields.text("name") ?? "", session: fields.sessionID,
                    value: fields.bytes("value") ?? [])
                let body = await claim(command, fields, context)
                if holder(of: body).isUngranted {
                    return .object(Answers.commit(.notCommitted, 0, 0) + election(nil))
                }
                return try Answers.committed(body) { result in
                    if case .election(let reply) = result, reply.isElected {
                        election(reply.token)
                    } else {
                        election(nil)
                    }
                }
            }),
        command(
            "/v1/elections/proclaim", "Changes the leader's value.", [name, session, value],
            { .proclaim(election: $0.text("name") ?? "", session: $0.sessionID, value: $0.bytes("value") ?? []) },
            reply: { _ in [] }),
        command(
            "/v1/elections/resign", "Gives the election up, or stops standing.", [name, session],
            answer: [Field("resigned", .boolean, isRequired: true, "True when the session was elected.")],
            { .resign(election: $0.text("name") ?? "", session: $0.sessionID) },
            reply: { result in
                guard case .resigned(let wasElected) = result else { return [] }
                return [.init("resigned", .boolean(wasElected))]
            }),
        query(
            "/v1/elections/leader", "Tells who leads.", [name],
            answer: [Field("leadership", leadership, isRequired: true, "Null: nobody leads.")],
            { .electionLeader(name: $0.text("name") ?? "") },
            reply: { result in
                guard case .electionLeader(let leader) = result else { return nil }
                return [.init("leadership", Answers.leadership(leader))]
            }),
        Route(
            method: .get, path: "/v1/elections/observe",
            summary: "The present leader at once, then every change, as server-sent events.", fields: [name],
            answer: [revision, Field("leadership", leadership, isRequired: true, "Null: nobody leads.")],
            action: .events { fields, context in
                EventSource.leaders(of: fields.text("name") ?? "", context)
            }),
    ]

    private static func claim(
        _ command: Command, _ fields: RequestFields, _ context: CallContext
    ) async -> ServiceReply.Body {
        await context.claim(
            command, fields.requestID, wait: .milliseconds(Int64(clamping: min(fields.unsigned("wait_ms"), 1 << 40))))
    }

    /// A wait that ended without a grant is an answer, not an error.
    private static func holder(of body: ServiceReply.Body) -> (isUngranted: Bool, session: UInt64) {
        guard case .failed(let failure) = body, failure.code == .notGranted else { return (false, 0) }
        return (true, failure.holder?.session.rawValue ?? 0)
    }

    private static func lock(_ token: FencingToken?, holder: UInt64 = 0) -> [JSONValue.Member] {
        [
            .init("granted", .boolean(token != nil)), .init("fencing_token", .unsigned(token?.rawValue ?? 0)),
            .init("holder_session_id", .unsigned(holder)),
        ]
    }

    private static func election(_ token: FencingToken?) -> [JSONValue.Member] {
        [.init("elected", .boolean(token != nil)), .init("fencing_token", .unsigned(token?.rawValue ?? 0))]
    }
}
