internal import Coordination

/// Text as the catalog stores it.
enum CatalogText {
    /// Text for a column: U+0000, which PostgreSQL cannot hold, is written `\0`, and a backslash doubled, so that
    /// two different texts stay different.
    static func escaped(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 0 || $0 == UInt8(ascii: "\\") }) else { return text }
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\0": escaped += "\\0"
            case "\\": escaped += "\\\\"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    /// A JSON object of a record's fields, values as ``escaped(_:)``. Of fields with one name the last stays.
    static func json(_ fields: [OutboxRecord.Field]) -> String {
        var json = "{"
        for (index, field) in fields.enumerated() {
            if index > 0 { json += "," }
            appendQuoted(escaped(field.name), to: &json)
            json += ":"
            appendQuoted(escaped(field.value), to: &json)
        }
        return json + "}"
    }

    private static func appendQuoted(_ text: String, to json: inout String) {
        json += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": json += "\\\""
            case "\\": json += "\\\\"
            case "\u{0}"..."\u{1f}":
                json += scalar.value < 16 ? "\\u000" : "\\u00"
                json += String(scalar.value, radix: 16)
            default: json.unicodeScalars.append(scalar)
            }
        }
        json += "\""
    }
}
