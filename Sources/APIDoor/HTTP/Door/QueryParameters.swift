/// The parameters of a request's query, decoded (WHATWG URL, section 5.1), each at most once.
struct QueryParameters {
    private var members: [(name: String, value: String)] = []

    var isEmpty: Bool { members.isEmpty }

    init(_ query: String) throws(HTTPFailure) {
        for part in query.utf8.split(separator: UInt8(ascii: "&")) {
            let pair = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            let name = try Self.decoded(pair[0])
            guard !members.contains(where: { $0.name == name }) else { throw .invalid("'\(name)' appears twice") }
            members.append((name, try pair.count > 1 ? Self.decoded(pair[1]) : ""))
        }
    }

    /// Takes a parameter out.
    mutating func take(_ name: String) -> String? {
        guard let index = members.firstIndex(where: { $0.name == name }) else { return nil }
        return members.remove(at: index).value
    }

    /// The parameters as the object that a body would have.
    func value(_ fields: [Field]) throws(HTTPFailure) -> JSONValue {
        var values: [JSONValue.Member] = []
        for member in members {
            guard let field = fields.first(where: { $0.names.contains(member.name) }) else {
                throw .invalid("unknown field '\(member.name)'")
            }
            values.append(.init(member.name, try field.kind.read(member.value, name: member.name)))
        }
        return .object(values)
    }

    private static func decoded(_ text: Substring.UTF8View) throws(HTTPFailure) -> String {
        guard let string = FormText.decoded(text) else {
            throw .invalid("the query has a broken percent escape, or is not UTF-8; give other bytes as NAME_base64")
        }
        return string
    }
}
