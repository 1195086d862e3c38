internal import Logging

/// Writes JSON text (RFC 8259) without a tree in between.
enum JSONText {
    /// A quoted string; control characters and the two separators that break JavaScript are escaped.
    static func appendString(_ value: String, to output: inout String) {
        output += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\r": output += "\\r"
            case "\t": output += "\\t"
            case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}":
                let digits = String(scalar.value, radix: 16)
                output += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: output.unicodeScalars.append(scalar)
            }
        }
        output += "\""
    }

    /// Log metadata: strings, arrays and objects with sorted keys.
    static func append(_ value: Logger.MetadataValue, to output: inout String) {
        switch value {
        case .string(let text): appendString(LogLine.clipped(text), to: &output)
        case .stringConvertible(let described): appendString(LogLine.clipped("\(described)"), to: &output)
        case .array(let values):
            output += "["
            for (index, element) in values.enumerated() {
                if index > 0 { output += "," }
                append(element, to: &output)
            }
            output += "]"
        case .dictionary(let pairs): append(pairs, to: &output)
        }
    }

    static func append(_ metadata: Logger.Metadata, to output: inout String) {
        output += "{"
        for (index, (key, value)) in metadata.sorted(by: { $0.key < $1.key }).enumerated() {
            if index > 0 { output += "," }
            appendString(key, to: &output)
            output += ":"
            append(value, to: &output)
        }
        output += "}"
    }
}
