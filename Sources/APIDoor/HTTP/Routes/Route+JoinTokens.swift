internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import RaftRuntime

// Tokens by which new hosts may join.
extension Route {
    static let joinTokens: [Route] = [
        command(
            "/v1/cluster/tokens/create",
            "Makes a token by which new hosts may join. The cluster keeps a digest of its secret alone, which whoever asks "
                + "has drawn; docs/formats/join.md says what a token is made of.",
            [
                id,
                Field("secret_sha256", .text, isRequired: true, "SHA-256 of 32 random bytes, in hexadecimal."),
                Field("node", .text, "The one node that may join by it; absent: any."),
                Field("uses", .unsigned, "How many nodes may join by it: 1 to 64. Default: 1."),
                Field("ttl_ms", .unsigned, isRequired: true, "How long it lives: one second to seven days."),
            ],
            answer: [Field("expires_unix_ms", .unsigned, isRequired: true, "By the cluster's clock.")],
            { fields in
                let uses = fields.value["uses"] == nil ? 1 : fields.count("uses")
                return .createJoinToken(
                    NewJoinToken(
                        id: try fields.joinToken(),
                        secretDigest: try fields.hexadecimal("secret_sha256"), nodeName: fields.text("node") ?? "",
                        uses: uses, ttl: .milliseconds(Int64(clamping: fields.unsigned("ttl_ms")))))
            },
            reply: { result in
                guard case .joinTokenCreated(let expires) = result else { return [] }
                return [.init("expires_unix_ms", .unsigned(expires / 1_000_000))]
            }),
        query(
            "/v1/cluster/tokens", "Join tokens that are kept; those that have expired go when room is needed.", [],
            answer: [
                Field(
                    "tokens",
                    .list(
                        .object([
                            id, Field("node", .text, isRequired: true, "The one node that may join by it; empty: any."),
                            Field("uses", .unsigned, isRequired: true, "How many nodes may join by it."),
                            Field("expires_unix_ms", .unsigned, isRequired: true, "By the cluster's clock."),
                            Field("creator", .text, isRequired: true, "Who made it."),
                            Field("revoked", .boolean, isRequired: true, "Nobody joins by it any more."),
                            Field("used_by", .list(.text), isRequired: true, "The nodes that have joined by it."),
                        ])), isRequired: true, "In the order in which they were made.")
            ],
            { _ in .joinTokens },
            reply: { result in
                guard case .joinTokens(let table) = result else { return nil }
                return [.init("tokens", .list(table.records.map { json($0) }))]
            }),
        command(
            "/v1/cluster/tokens/revoke", "Ends a token; nodes that have joined by it stay.", [id],
            { .revokeJoinToken(try $0.joinToken()) }, reply: { _ in [] }),
    ]

    private static let id = Field("id", .text, isRequired: true, "Of the token: sixteen hexadecimal digits.")

    private static func json(_ record: JoinTokenRecord) -> JSONValue {
        .object([
            "id": .text(record.id.description), "node": .text(record.nodeName),
            "uses": .unsigned(UInt64(record.uses)), "expires_unix_ms": .unsigned(record.expires / 1_000_000),
            "creator": .text(record.creator), "revoked": .boolean(record.isRevoked),
            "used_by": .list(record.used.map { .text($0.name) }),
        ])
    }
}

extension RequestFields {
    fileprivate func joinToken() throws(HTTPFailure) -> JoinTokenID {
        guard let text = text("id"), text.utf8.count == 16, let id = JoinTokenID(text) else {
            throw .invalid("'id' must be sixteen hexadecimal digits")
        }
        return id
    }

    fileprivate func hexadecimal(_ name: String) throws(HTTPFailure) -> [UInt8] {
        let digits = (text(name) ?? "").compactMap(\.hexDigitValue)
        guard digits.count == text(name)?.count, digits.count % 2 == 0 else {
            throw .invalid("'\(name)' must be hexadecimal")
        }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
