internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import RaftRuntime

// Who is a member.
extension Route {
    static let membership: [Route] = [
        change(
            "add",
            "Gives a node its id and begins to send it the log; it has no vote yet. Asked again for the same node before "
                + "it has joined, answers the same.",
            [
                Field("name", .text, isRequired: true, "As in the node's certificate."),
                Field("peer", .text, isRequired: true, "HOST:PORT where peers reach it."),
                Field("api", .text, isRequired: true, "HOST:PORT where clients reach it."),
                Field("zone", .text, "Its failure domain."),
            ]
        ) { fields in
            do throws(Refusal) {
                return [
                    .add(
                        try NewMember(
                            fields.text("name") ?? "", peer: fields.text("peer") ?? "", api: fields.text("api") ?? "",
                            zone: fields.text("zone") ?? ""))
                ]
            } catch {
                throw HTTPFailure(error)
            }
        },
        change(
            "promote", "Gives learners a vote: those that have caught up and have answered lately. All or none.",
            [names]
        ) { $0.texts("names").map(MemberChange.promote) },
        change("demote", "Takes votes; the nodes go on getting the log. All or none.", [names]) {
            $0.texts("names").map(MemberChange.demote)
        },
        change(
            "remove", "Takes nodes out for good; a leader among them hands over first. All or none.", [names]
        ) { $0.texts("names").map(MemberChange.remove) },
        change(
            "replace", "Gives a member's vote to a learner and takes the member out, in one step.",
            [
                Field("old", .text, isRequired: true, "A voter, which leaves."),
                Field("new", .text, isRequired: true, "A learner, which gets its vote."),
            ]
        ) { [.replace($0.text("old") ?? "", with: $0.text("new") ?? "")] },
        Route(
            method: .post, path: "/v1/cluster/members/drain",
            summary: "Keeps a member from leading and from being ready, until this is undone or it starts anew.",
            fields: [
                Field("name", .text, isRequired: true, "The member."),
                Field("undo", .boolean, "Lets it lead and be ready again."),
            ],
            action: .call { fields, context in
                let operation = ServiceRequest.Operation.setAside(
                    member: fields.text("name") ?? "", !fields.boolean("undo"))
                switch await context.call(operation) {
                case .done, .transferred: return .object([:])
                case .failed(let failure): throw HTTPFailure(failure)
                default: throw HTTPFailure.unexpected
                }
            }),
    ]

    private static let names = Field("names", .list(.text), isRequired: true, "Members.")

    private static func change(
        _ verb: String, _ summary: String, _ fields: [Field],
        _ changes: @escaping @Sendable (RequestFields) throws -> [MemberChange]
    ) -> Route {
        Route(
            method: .post, path: "/v1/cluster/members/" + verb, summary: summary, fields: fields,
            answer: [
                Field("outcome", .choice(["committed"]), isRequired: true, "What became of it."),
                Field("log_index", .unsigned, isRequired: true, "Where the log has the new configuration."),
                Field("ids", .list(.text), isRequired: true, "Of the members it was about, in the order of asking."),
            ],
            action: .call { fields, context in
                switch await context.call(.changeMembers(try changes(fields))) {
                case .membersChanged(let done):
                    return .object([
                        "outcome": .text(Outcome.committed.rawValue), "log_index": .unsigned(done.index.rawValue),
                        "ids": .list(done.members.map { .text($0.description) }),
                    ])
                case .failed(let failure): throw HTTPFailure(failure)
                default: throw HTTPFailure.unexpected
                }
            })
    }
}
