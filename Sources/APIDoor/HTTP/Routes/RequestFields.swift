internal import Coordination
internal import EsperTypes
internal import FoundationEssentials

/// A request's members after they were checked against the route's fields.
struct RequestFields: Sendable {
    let value: JSONValue

    func text(_ name: String) -> String? {
        if case .text(let text)? = value[name] { text } else { nil }
    }

    func texts(_ name: String) -> [String] {
        guard case .list(let values)? = value[name] else { return [] }
        return values.compactMap { if case .text(let text) = $0 { text } else { nil } }
    }

    func unsigned(_ name: String) -> UInt64 {
        if case .unsigned(let number)? = value[name] { number } else { 0 }
    }

    func boolean(_ name: String) -> Bool { value[name] == .boolean(true) }

    /// `NAME` as text or `NAME_base64`.
    func bytes(_ name: String) -> [UInt8]? {
        if let text = text(name) { return [UInt8](text.utf8) }
        return text(name + "_base64").flatMap(Base64Text.decoded)
    }

    func objects(_ name: String) -> [RequestFields] {
        guard case .list(let values)? = value[name] else { return [] }
        return values.map(RequestFields.init)
    }

    func object(_ name: String) -> RequestFields? {
        guard let value = value[name], value != .null else { return nil }
        return RequestFields(value: value)
    }

    func count(_ name: String) -> Int { Int(clamping: unsigned(name)) }

    /// Absent and 0 both mean no session.
    var session: SessionID? {
        let number = unsigned("session_id")
        return number == 0 ? nil : SessionID(number)
    }

    var sessionID: SessionID { SessionID(unsigned("session_id")) }

    var isLinearizable: Bool { text("consistency") != "local" }

    var requestID: RequestID? {
        guard let fields = object("request_id"), fields.unsigned("client_id") != 0 else { return nil }
        return RequestID(
            client: ClientID(fields.unsigned("client_id")), sequence: fields.unsigned("sequence"),
            acknowledgedThrough: fields.unsigned("acknowledged_through"))
    }

    /// The one range that `key`, `prefix` or `start` with `end` select.
    func range() throws(HTTPFailure) -> KeyRange {
        let (key, prefix, start, end) = (bytes("key"), bytes("prefix"), bytes("start"), bytes("end"))
        let selectors = [key != nil, prefix != nil, start != nil || end != nil].count { $0 }
        guard selectors == 1 else {
            throw .invalid("select keys by exactly one of 'key', 'prefix', or 'start' with 'end'")
        }
        if let key { return .key(key) }
        if let prefix { return .prefix(prefix) }
        guard let end, !end.isEmpty else { return .from(start ?? []) }
        return .keys(from: start ?? [], before: end)
    }
}

/// Base64 (RFC 4648, section 4), padded.
enum Base64Text {
    static func decoded(_ text: String) -> [UInt8]? { Data(base64Encoded: text).map { [UInt8]($0) } }

    static func encoded(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }
}
