internal import HTTPTypes

/// The description of the HTTP API (OpenAPI 3.1), made from the same table as the routing.
enum OpenAPI {
    static let document: JSONValue = .object([
        "openapi": "3.1.0",
        "info": .object([
            "title": "Esper", "version": "1",
            "description": .text(
                "Keys and values are UTF-8 text, or base64 under NAME_base64. Numbers are whole and unsigned. "
                    + "`timeout` in the query (250us, 30ms, 15s, 2m, 1h) bounds a call; the default is 5s."),
        ]),
        "paths": .object(paths.map { .init($0.path, .object($0.operations)) }),
        "components": .object(["schemas": .object(["Error": schema(.object(error))])]),
    ])

    private static let error = [
        Field(
            "error",
            .object([
                Field("code", .text, isRequired: true, "A stable word."),
                Field("message", .text, isRequired: true, "For people."),
                Field(
                    "outcome", .choice(["committed", "not_committed", "unknown"]), isRequired: true, "What is known."),
                Field("retryable", .boolean, isRequired: true, "The same call may succeed later."),
                Field("leader", .optional(.text), isRequired: true, "The leader's name, if it is known."),
                Field(
                    "leader_api_address", .optional(.text), isRequired: true,
                    "Where the leader's API answers, if it is known."),
                Field("oldest_revision", .unsigned, "For `compacted`: the oldest readable revision."),
            ]), isRequired: true, "Why there is no result.")
    ]

    private static var paths: [(path: String, operations: [JSONValue.Member])] {
        var paths: [(path: String, operations: [JSONValue.Member])] = []
        for route in Route.all {
            let member = JSONValue.Member(route.method.rawValue.lowercased(), operation(route))
            if let index = paths.firstIndex(where: { $0.path == route.path }) {
                paths[index].operations.append(member)
            } else {
                paths.append((route.path, [member]))
            }
        }
        return paths
    }

    private static func operation(_ route: Route) -> JSONValue {
        let isQuery = route.method == .get
        let content: JSONValue
        switch route.action {
        case .call, .wait: content = .object(["application/json": .object(["schema": schema(.object(route.answer))])])
        case .events: content = .object(["text/event-stream": .object(["schema": schema(.object(route.answer))])])
        case .probe(let contentType, _):
            content = .object([
                .init(String(contentType.prefix { $0 != ";" }), .object(["schema": .object(["type": "string"])]))
            ])
        }
        var parameters: [JSONValue] = []
        if isQuery { for field in route.fields { parameters += field.names.map { parameter($0, field) } } }
        if !route.isProbe {
            parameters.append(parameter("timeout", Field("timeout", .text, "How long the call may take.")))
        }
        return .object([
            "summary": .text(route.summary), "parameters": parameters.isEmpty ? nil : .list(parameters),
            "requestBody": isQuery
                ? nil
                : .object([
                    "content": .object(["application/json": .object(["schema": schema(.object(route.fields))])])
                ]),
            "responses": .object([
                "200": .object(["description": "Done.", "content": content]),
                "default": .object([
                    "description": "No result.",
                    "content": .object([
                        "application/json": .object(["schema": .object(["$ref": "#/components/schemas/Error"])])
                    ]),
                ]),
            ]),
        ])
    }

    private static func parameter(_ name: String, _ field: Field) -> JSONValue {
        .object([
            "name": .text(name), "in": "query",
            "required": field.isRequired && field.names.count == 1 ? .boolean(true) : nil,
            "description": .text(field.note), "schema": schema(field.kind),
        ])
    }

    private static func schema(_ kind: Field.Kind) -> JSONValue {
        switch kind {
        case .boolean: .object(["type": "boolean"])
        case .unsigned: .object(["type": "integer", "format": "uint64", "minimum": .unsigned(0)])
        case .text, .bytes: .object(["type": "string"])
        case .choice(let words): .object(["type": "string", "enum": .list(words.map(JSONValue.text))])
        case .list(let kind): .object(["type": "array", "items": schema(kind)])
        case .optional(let kind): .object(["oneOf": .list([schema(kind), .object(["type": "null"])])])
        case .object(let fields):
            .object([
                "type": "object", "additionalProperties": .boolean(false),
                "properties": .object(
                    fields.flatMap { field in field.names.map { .init($0, described(field)) } }),
                "required": .list(
                    fields.filter { $0.isRequired && $0.names.count == 1 }.map { JSONValue.text($0.name) }),
            ])
        }
    }

    private static func described(_ field: Field) -> JSONValue {
        guard case .object(let members) = schema(field.kind) else { return .null }
        return .object(members + [.init("description", .text(field.note))])
    }
}

extension JSONValue: ExpressibleByStringLiteral {
    init(stringLiteral value: String) { self = .text(value) }
}
