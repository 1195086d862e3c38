/// A member of a request or an answer: what is checked, and what `/openapi.json` says about it.
struct Field: Sendable {
    indirect enum Kind: Sendable {
        case boolean
        case unsigned
        case text
        /// Any bytes: `NAME` as text, or `NAME_base64`; an answer has the first when the bytes are valid UTF-8.
        case bytes
        case choice([String])
        case list(Kind)
        case object([Field])
        /// In answers: null when there is none.
        case optional(Kind)
    }

    var name: String
    var kind: Kind
    var isRequired = false
    var note: String

    init(_ name: String, _ kind: Kind, isRequired: Bool = false, _ note: String) {
        self.name = name
        self.kind = kind
        self.isRequired = isRequired
        self.note = note
    }

    /// The names under which it appears.
    var names: [String] {
        if case .bytes = kind { [name, name + "_base64"] } else { [name] }
    }
}

extension Field {
    /// Checks a request's members against its fields.
    ///
    /// - Parameter place: of the object in the document, for messages; empty at the top.
    /// - Throws: ``HTTPFailure`` with status 400 that names the first member that is wrong.
    static func check(_ value: JSONValue, against fields: [Field], at place: String = "") throws(HTTPFailure) {
        guard case .object(let members) = value else {
            throw .invalid(place.isEmpty ? "the body must be a JSON object" : "\(place) must be an object")
        }
        let prefix = place.isEmpty ? "" : place + "."
        for member in members {
            guard let field = fields.first(where: { $0.names.contains(member.name) }) else {
                throw .invalid("unknown field '\(prefix)\(member.name)'")
            }
            if case .null = member.value { continue }
            try field.kind.check(member.value, at: prefix + member.name, isBase64: member.name != field.name)
        }
        for field in fields {
            let present = field.names.filter { name in members.contains { $0.name == name && $0.value != .null } }
            if present.count > 1 { throw .invalid("give '\(prefix)\(present[0])' or '\(present[1])', not both") }
            if field.isRequired, present.isEmpty { throw .invalid("the field '\(prefix)\(field.name)' is missing") }
        }
    }
}

extension Field.Kind {
    func check(_ value: JSONValue, at place: String, isBase64: Bool) throws(HTTPFailure) {
        switch (self, value) {
        case (.boolean, .boolean), (.unsigned, .unsigned), (.text, .text): return
        case (.bytes, .text(let text)):
            guard isBase64, Base64Text.decoded(text) == nil else { return }
            throw .invalid("'\(place)' is not valid base64")
        case (.choice(let words), .text(let text)):
            guard !words.contains(text) else { return }
            throw .invalid("'\(place)' must be one of \(words.joined(separator: ", "))")
        case (.list(let kind), .list(let values)):
            for (index, value) in values.enumerated() {
                try kind.check(value, at: "\(place)[\(index)]", isBase64: false)
            }
        case (.object(let fields), .object): try Field.check(value, against: fields, at: place)
        case (.optional(let kind), _): try kind.check(value, at: place, isBase64: isBase64)
        default: throw .invalid("'\(place)' must be \(expectation), not \(value.kind)")
        }
    }

    private var expectation: String {
        switch self {
        case .boolean: "true or false"
        case .unsigned: "a whole number from 0"
        case .text, .bytes: "text"
        case .choice(let words): "one of \(words.joined(separator: ", "))"
        case .list: "a list"
        case .object: "an object"
        case .optional(let kind): kind.expectation
        }
    }

    /// A query parameter's text as the value it stands for.
    func read(_ text: String, name: String) throws(HTTPFailure) -> JSONValue {
        switch self {
        case .boolean:
            switch text {
            case "true", "1", "": return .boolean(true)
            case "false", "0": return .boolean(false)
            default: throw .invalid("'\(name)' must be true or false")
            }
        case .unsigned:
            guard let value = UInt64(text) else { throw .invalid("'\(name)' must be a whole number from 0") }
            return .unsigned(value)
        case .text, .bytes, .choice: return .text(text)
        case .optional(let kind): return try kind.read(text, name: name)
        case .list, .object: throw .invalid("'\(name)' cannot stand in the query")
        }
    }
}
