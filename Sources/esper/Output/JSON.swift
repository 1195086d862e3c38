/// A JSON value that keeps the order of its fields, so that documents read the same every time.
package enum JSON: Sendable, Equatable, ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByNilLiteral
{
    case null
    case bool(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([Field])

    package struct Field: Sendable, Equatable {
        package var name: String
        package var value: JSON
    }

    package init(stringLiteral value: String) { self = .string(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(nilLiteral: ()) { self = .null }

    /// An object with its fields in the order written.
    package static func fields(_ fields: KeyValuePairs<String, JSON>) -> JSON {
        .object(fields.map { Field(name: $0.key, value: $0.value) })
    }

    package static func int(_ value: Int) -> JSON { .integer(Int64(value)) }

    /// Rounded to a thousandth: measurements carry no more.
    static func rounded(_ value: Double) -> JSON { .number((value * 1000).rounded() / 1000) }

    static func optional<Value>(_ value: Value?, _ convert: (Value) -> JSON) -> JSON { value.map(convert) ?? .null }

    /// The document on one line.
    package var text: String {
        var text = ""
        append(to: &text)
        return text
    }

    private func append(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .unsigned(let value): text += String(value)
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): Self.append(value, to: &text)
        case .array(let values):
            text += "["
            for (position, value) in values.enumerated() {
                if position > 0 { text += "," }
                value.append(to: &text)
            }
            text += "]"
        case .object(let fields):
            text += "{"
            for (position, field) in fields.enumerated() {
                if position > 0 { text += "," }
                Self.append(field.name, to: &text)
                text += ":"
                field.value.append(to: &text)
            }
            text += "}"
        }
    }

    private static func append(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
