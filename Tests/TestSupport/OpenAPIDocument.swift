import Foundation

/// An OpenAPI description, by which answers are judged.
///
/// Knows the part of JSON Schema that our description uses, and objects to every other keyword, so that none is ignored.
public struct OpenAPIDocument: Sendable {
    private let document: JSONTree

    public init(_ text: String) throws { document = try JSONTree(text) }

    /// What is wrong with an answer; nothing when it is as described.
    ///
    /// - Parameter contentType: of the answer, as the description lists it.
    public func problems(
        with answer: String, to method: String, _ path: String, status: Int, contentType: String = "application/json"
    ) -> [String] {
        let responses = document["paths"]?[path]?[method.lowercased()]?["responses"]
        guard let response = responses?["\(status)"] ?? responses?["default"],
            let schema = response["content"]?[contentType]?["schema"]
        else { return ["\(method) \(path): nothing is said of \(contentType) with status \(status)"] }
        guard let value = try? JSONTree(answer) else { return ["\(method) \(path): no JSON: \(answer)"] }
        return problems(with: value, against: schema, at: "\(method) \(path) \(status): $")
    }

    private func problems(with value: JSONTree, against schema: JSONTree, at place: String) -> [String] {
        guard case .object(let keywords) = schema else { return ["\(place): its schema is no object"] }
        var found: [String] = []
        for (keyword, rule) in keywords.sorted(by: { $0.key < $1.key }) {
            switch (keyword, rule) {
            case ("description", _), ("format", _), ("properties", _): break
            case ("$ref", .text(let reference)):
                found += problems(with: value, against: resolved(reference), at: place)
            case ("type", .text(let type)):
                if !value.isOf(type) { found.append("\(place) is \(value.kind), not \(type)") }
            case ("enum", .list(let values)):
                if !values.contains(value) { found.append("\(place) is none of the values it may have: \(value)") }
            case ("minimum", .number(let least)):
                if case .number(let number) = value, number < least { found.append("\(place) is below \(least)") }
            case ("oneOf", .list(let schemas)):
                let fits = schemas.count { problems(with: value, against: $0, at: place).isEmpty }
                if fits != 1 { found.append("\(place) fits \(fits) of its alternatives: \(value)") }
            case ("items", let items):
                guard case .list(let elements) = value else { break }
                for (index, element) in elements.enumerated() {
                    found += problems(with: element, against: items, at: "\(place)[\(index)]")
                }
            case ("required", .list(let names)):
                guard case .object(let members) = value else { break }
                for case .text(let name) in names where members[name] == nil {
                    found.append("\(place).\(name) is missing")
                }
            case ("additionalProperties", .boolean(false)):
                guard case .object(let members) = value else { break }
                let properties = schema["properties"]
                for (name, member) in members.sorted(by: { $0.key < $1.key }) {
                    guard let property = properties?[name] else {
                        found.append("\(place).\(name) is not described")
                        continue
                    }
                    found += problems(with: member, against: property, at: "\(place).\(name)")
                }
            default: found.append("\(place): the keyword '\(keyword)' is not known here")
            }
        }
        return found
    }

    /// `#/components/schemas/NAME`.
    private func resolved(_ reference: String) -> JSONTree {
        reference.split(separator: "/").dropFirst().reduce(document) { $0[String($1)] ?? .null }
    }
}

/// A JSON document as a tree that tells numbers from booleans.
indirect enum JSONTree: Decodable, Equatable, Sendable {
    case null
    case boolean(Bool)
    case number(Double)
    case text(String)
    case list([JSONTree])
    case object([String: JSONTree])

    init(_ text: String) throws { self = try JSONDecoder().decode(JSONTree.self, from: Data(text.utf8)) }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .boolean(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([JSONTree].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: JSONTree].self))
        }
    }

    subscript(name: String) -> JSONTree? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    var kind: String {
        switch self {
        case .null: "null"
        case .boolean: "boolean"
        case .number: "number"
        case .text: "string"
        case .list: "array"
        case .object: "object"
        }
    }

    func isOf(_ type: String) -> Bool {
        if case .number(let number) = self, type == "integer" { return number == number.rounded() }
        return kind == type
    }
}
