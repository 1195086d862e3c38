internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import Observability
internal import RaftRuntime

// Watching, the cluster, and the node itself.
extension Route {
    static let watches: [Route] = [
        Route(
            method: .get, path: "/v1/watch",
            summary: "Changes of the keyspace in order, without gaps, as server-sent events. An event holds all of one "
                + "revision, whose number is its id: with Last-Event-ID the watch goes on behind it.",
            fields: selectors + [
                Field("from_revision", .unsigned, "The first revision to report; 0: whatever comes next."),
                Field("want_previous", .boolean, "Tell what was replaced."),
            ],
            answer: [
                revision,
                Field(
                    "events",
                    .list(
                        .object([
                            Field("kind", .choice(["put", "delete"]), isRequired: true, "What happened."),
                            Field("kv", keyValue, isRequired: true, "The new version; of a deletion, the key."),
                            Field("previous", .optional(keyValue), isRequired: true, "What it replaced."),
                        ])), isRequired: true, "In order."),
            ],
            action: .events { fields, context in
                var from = Revision(fields.unsigned("from_revision"))
                if let id = context.lastEventID {
                    guard let last = UInt64(id), last < .max else {
                        throw HTTPFailure.invalid("Last-Event-ID must be a revision")
                    }
                    from = Revision(last + 1)
                }
                return EventSource.changes(
                    WatchRequest(
                        try fields.range(), fromRevision: from, includesPrevious: fields.boolean("want_previous")),
                    context)
            })
    ]

    private static let member: Field.Kind = .object(
        [("name", "Its name."), ("id", "Its id."), ("role", "leader, follower, candidate, learner or unknown.")].map {
            Field($0.0, .text, isRequired: true, $0.1)
        } + [
            Field("voter", .boolean, isRequired: true, "Counts for quorums."),
            Field(
                "reachable", .boolean, isRequired: true,
                "The node that answers is linked to it and has heard from it in the last 1.5 s."),
            Field("applied_index", .unsigned, isRequired: true, "What it has applied."),
            Field("match_index", .unsigned, isRequired: true, "Known to be durable there."),
        ]
            + [
                ("version", "Its program."), ("address", "Its peer port."), ("zone", "Its failure domain."),
                ("api_address", "Its API port."),
            ].map { Field($0.0, .text, isRequired: true, $0.1) })

    static let cluster: [Route] = [
        Route(
            method: .get, path: "/v1/cluster/status",
            summary: "The cluster as this node knows it; answered without a quorum too.",
            answer: [
                Field("cluster_id", .text, isRequired: true, "Names the cluster."),
                Field("leader", .optional(.text), isRequired: true, "Null: none that this node knows."),
                Field("leader_api_address", .optional(.text), isRequired: true, "Where the leader's API answers."),
                Field("term", .unsigned, isRequired: true, "The term."),
                Field("commit_index", .unsigned, isRequired: true, "Known to be committed."),
                Field("applied_index", .unsigned, isRequired: true, "Applied by this node."), revision,
                Field("members", .list(member), isRequired: true, "All members."),
                Field(
                    "pending_change", .optional(.text), isRequired: true,
                    "The configuration in force while a change of members is not finished."),
                Field("answered_by", .text, isRequired: true, "The node that answers."),
                Field("outbox_pending", .unsigned, isRequired: true, "Audit records that wait for the catalog."),
                Field(
                    "catalog", .choice(CatalogState.allCases.map(\.rawValue)), isRequired: true,
                    "Of the node that answers: degraded when it is not reached, disabled when none is configured."),
                Field(
                    "enroll_address", .optional(.text), isRequired: true,
                    "Where hosts with a join token are let in by the node that answers; null: not here."),
                Field(
                    "authority_sha256", .optional(.text), isRequired: true,
                    "Of the certificate of the authority that signs there, in hexadecimal."),
            ],
            action: .call { _, context in
                switch await context.call(.status) {
                case .status(let status): return Answers.status(status, context.facts())
                case .failed(let failure): throw HTTPFailure(failure)
                default: throw HTTPFailure.unexpected
                }
            }),
        Route(
            method: .post, path: "/v1/cluster/transfer", summary: "Hands leadership to another member.",
            fields: [Field("target", .text, "A member's name; absent: whoever is most up to date.")],
            answer: [
                Field("leader", .text, isRequired: true, "Who leads now."),
                Field("term", .unsigned, isRequired: true, "Since which term."),
            ],
            action: .call { fields, context in
                let target = fields.text("target").flatMap { $0.isEmpty ? nil : $0 }
                switch await context.call(.transferLeadership(toMember: target)) {
                case .transferred(let leader, let term):
                    return .object(["leader": .text(leader), "term": .unsigned(term.rawValue)])
                case .failed(let failure): throw HTTPFailure(failure)
                default: throw HTTPFailure.unexpected
                }
            }),
        Route(
            method: .post, path: "/v1/clients/register", summary: "Gives out a client id, which makes retries safe.",
            answer: commit + [Field("client_id", .unsigned, isRequired: true, "For `request_id`.")],
            action: .call { _, context in
                try Answers.committed(await context.call(.command(.registerClient, nil))) { result in
                    guard case .clientRegistered(let client) = result else { return [] }
                    return [.init("client_id", .unsigned(client.rawValue))]
                }
            }),
    ]

    static let probes: [Route] = [
        Route(
            method: .get, path: "/health", summary: "Whether the process is alive; 503 when it must be restarted.",
            action: .probe(contentType: "application/json") { $0.liveness() }),
        Route(
            method: .get, path: "/ready", summary: "Whether work may be sent here; 503 with the reasons when not.",
            action: .probe(contentType: "application/json") { await $0.readiness() }),
        Route(
            method: .get, path: "/metrics", summary: "Every metric, as Prometheus text.",
            action: .probe(contentType: PrometheusRegistry.contentType) { (.ok, $0.registry.expose()) }),
        Route(
            method: .get, path: "/openapi.json", summary: "This description.",
            action: .probe(contentType: "application/json") { _ in (.ok, OpenAPI.document.serialized) }),
    ]
}
