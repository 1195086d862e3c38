/// Turns the dotted labels of swift-metrics into names that Prometheus accepts.
enum MetricNames {
    /// Every metric of ours begins with this, so that it can be told from those of other programs.
    static let prefix = "esper"

    /// `raft.leader.changes` becomes `esper_raft_leader_changes`; the suffix (`total`, `seconds`) is not doubled.
    static func name(of label: String, suffix: String? = nil) -> String {
        var name = sanitised(label, allowingColon: true)
        if name != prefix, !name.hasPrefix(prefix + "_") { name = prefix + "_" + name }
        if let suffix, !name.hasSuffix("_" + suffix) { name += "_" + suffix }
        return name
    }

    /// A label name: letters, digits and underscores; `le` belongs to histograms and is renamed.
    static func labelName(of key: String) -> String {
        var name = sanitised(key, allowingColon: false)
        if name.isEmpty || name.first?.isNumber == true { name = "_" + name }
        return name == "le" ? "exported_le" : name
    }

    /// Escapes a label value as the exposition format asks: backslash, quote and line feed.
    ///
    /// Values are cut at `maximumLabelValueBytes`, so that a caller's mistake cannot grow an answer without bound.
    static func appendEscaped(_ value: String, to output: inout String) {
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": output += "\\\\"
            case "\"": output += "\\\""
            case "\n": output += "\\n"
            default: output.unicodeScalars.append(scalar)
            }
        }
    }

    /// The longest label value that is kept.
    static let maximumLabelValueBytes = 256

    /// `value`, cut at a character's boundary when it is too long.
    static func clipped(_ value: String) -> String {
        guard value.utf8.count > maximumLabelValueBytes else { return value }
        var kept = ""
        var bytes = 0
        for scalar in value.unicodeScalars {
            bytes += UTF8.width(scalar)
            guard bytes <= maximumLabelValueBytes else { break }
            kept.unicodeScalars.append(scalar)
        }
        return kept
    }

    private static func sanitised(_ text: String, allowingColon: Bool) -> String {
        String(
            decoding: text.utf8.map { byte -> UInt8 in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                    return byte
                case UInt8(ascii: ":") where allowingColon: return byte
                default: return UInt8(ascii: "_")
                }
            }, as: UTF8.self)
    }
}
