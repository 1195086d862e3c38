internal import Logging

/// One log event as a line of text, in either of the two notations.
enum LogLine {
    /// The longest message or metadata value that is written whole.
    static let maximumValueBytes = 8 << 10

    /// `{"time":…,"level":…,"label":…,"message":…,"metadata":{…}}`, metadata only when there is any.
    static func json(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, label: String, at time: WallTime
    ) -> String {
        var line = "{\"time\":\"\(time)\",\"level\":\"\(level.rawValue)\",\"label\":"
        JSONText.appendString(label, to: &line)
        line += ",\"message\":"
        JSONText.appendString(clipped(message), to: &line)
        if !metadata.isEmpty {
            line += ",\"metadata\":"
            JSONText.append(metadata, to: &line)
        }
        return line + "}\n"
    }

    /// `2026-11-21T04:05:06.789012Z WARNING label: message key=value key="two words"`.
    ///
    /// Whatever holds a blank, a quote or a control character is quoted and escaped, so that no value can forge a line.
    static func text(
        _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, label: String, at time: WallTime
    ) -> String {
        let name = level.rawValue.uppercased()
        var line = "\(time) \(name)"
        line += String(repeating: " ", count: max(1, 9 - name.utf8.count))
        line += "\(label): "
        appendPlain(clipped(message), quotingBlanks: false, to: &line)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            line += " "
            appendPlain(key, quotingBlanks: true, to: &line)
            line += "="
            switch value {
            case .string(let text): appendPlain(clipped(text), quotingBlanks: true, to: &line)
            case .stringConvertible(let described):
                appendPlain(clipped("\(described)"), quotingBlanks: true, to: &line)
            case .array, .dictionary: JSONText.append(value, to: &line)
            }
        }
        return line + "\n"
    }

    /// Cut at a character's boundary, with the count of the bytes left out.
    static func clipped(_ text: String) -> String {
        let count = text.utf8.count
        guard count > maximumValueBytes else { return text }
        var end = text.utf8.index(text.utf8.startIndex, offsetBy: maximumValueBytes)
        while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil {
            end = text.utf8.index(before: end)
        }
        return text[..<end] + "… (\(count - text[..<end].utf8.count) bytes more)"
    }

    private static func appendPlain(_ text: String, quotingBlanks: Bool, to line: inout String) {
        let needsQuotes =
            quotingBlanks && text.isEmpty
            || text.unicodeScalars.contains { scalar in
                switch scalar {
                case " ", "=": quotingBlanks
                case "\"": quotingBlanks
                case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}": true
                default: false
                }
            }
        if needsQuotes { JSONText.appendString(text, to: &line) } else { line += text }
    }
}
