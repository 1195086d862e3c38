/// What a client did and what it was told, as one line of a recorded history.
///
/// A process issues one operation at a time; whoever got no answer goes on under a new process number.
public struct HistoryOperation: Hashable, Sendable {
    public enum Status: String, Hashable, Sendable {
        /// Answered.
        case ok
        /// Refused: it certainly had no effect.
        case fail
        /// Unknown: it may have taken effect at any time after the call, or never.
        case info
    }

    public var process: Int64
    public var op: String
    /// The object. Every (model, key) is judged apart.
    public var key: String
    public var input: JSONValue
    public var output: JSONValue
    /// When it was asked, by the recorder's one monotonic clock.
    public var callNanoseconds: Int64
    /// When the answer came; nil where there was none.
    public var returnNanoseconds: Int64?
    public var status: Status
    public var model: String
    /// Other fields (`node`, `session`, `error`); checkers ignore them.
    public var extra: [JSONValue.Member]

    public init(
        process: Int64, op: String, key: String, input: JSONValue = nil, output: JSONValue = nil,
        callNanoseconds: Int64, returnNanoseconds: Int64?, status: Status, model: String = "register",
        extra: [JSONValue.Member] = []
    ) {
        self.process = process
        self.op = op
        self.key = key
        self.input = input
        self.output = output
        self.callNanoseconds = callNanoseconds
        self.returnNanoseconds = returnNanoseconds
        self.status = status
        self.model = model
        self.extra = extra
    }

    /// One line without its line end.
    public var line: String { json.description }

    public var json: JSONValue {
        .object(
            [
                .init("process", .integer(process)), .init("op", .string(op)), .init("key", .string(key)),
                .init("input", input), .init("output", output), .init("call_ns", .integer(callNanoseconds)),
                .init("return_ns", returnNanoseconds.map { .integer($0) } ?? .null),
                .init("status", .string(status.rawValue)), .init("model", .string(model)),
            ] + extra)
    }

    /// Reads the fields of one line.
    ///
    /// - Throws: ``HistoryError`` naming the field that is missing or of the wrong kind.
    public init(json: JSONValue) throws(HistoryError) {
        guard case .object(let members) = json else { throw .notAnObject }
        guard let process = json["process"]?.integer else { throw .field("process") }
        guard let op = json["op"]?.string else { throw .field("op") }
        guard let key = json["key"]?.string else { throw .field("key") }
        guard let call = json["call_ns"]?.integer else { throw .field("call_ns") }
        guard let status = json["status"]?.string.flatMap(Status.init(rawValue:)) else { throw .field("status") }
        guard let model = json["model"]?.string else { throw .field("model") }
        let answer: Int64?
        switch json["return_ns"] {
        case .some(.integer(let value)): answer = value
        case .some(.null), .none: answer = nil
        case .some: throw .field("return_ns")
        }
        let known = ["process", "op", "key", "input", "output", "call_ns", "return_ns", "status", "model"]
        self.init(
            process: process, op: op, key: key, input: json["input"] ?? .null, output: json["output"] ?? .null,
            callNanoseconds: call, returnNanoseconds: answer, status: status, model: model,
            extra: members.filter { !known.contains($0.name) })
    }
}

extension HistoryOperation: CustomStringConvertible {
    /// `p3 cas k7 [1,2] -> true ok [1200, 1950]`
    public var description: String {
        let end = returnNanoseconds.map(String.init) ?? "-"
        return "p\(process) \(op) \(key) \(input) -> \(output) \(status.rawValue) [\(callNanoseconds), \(end)]"
    }
}

/// Why a line is not part of a history.
public enum HistoryError: Error, Hashable, Sendable {
    case notAnObject
    case notJSON(JSONError)
    /// The field is missing or not of its kind.
    case field(String)
}
