/// A recorded run: what every client did, and the faults that were injected meanwhile.
///
/// The form is JSON lines, one operation each; lines with a field `header` or `fault` stand among them. The simulator,
/// `esper bench --history` and the chaos suites write it, and any checker judges any run.
public struct History: Hashable, Sendable {
    /// A fault that was injected; checkers ignore it, people do not.
    public struct Fault: Hashable, Sendable {
        public var kind: String
        public var startNanoseconds: Int64
        public var endNanoseconds: Int64?
        public var target: String

        public init(kind: String, startNanoseconds: Int64, endNanoseconds: Int64? = nil, target: String) {
            self.kind = kind
            self.startNanoseconds = startNanoseconds
            self.endNanoseconds = endNanoseconds
            self.target = target
        }

        public var line: String {
            JSONValue.object([
                .init("fault", .string(kind)), .init("t_ns", .integer(startNanoseconds)),
                .init("end_ns", endNanoseconds.map { .integer($0) } ?? .null), .init("target", .string(target)),
            ]).description
        }
    }

    /// Seed, versions, topology, clock: the first line, when there is one.
    public var header: JSONValue?
    public var operations: [HistoryOperation]
    public var faults: [Fault]

    public init(header: JSONValue? = nil, operations: [HistoryOperation] = [], faults: [Fault] = []) {
        self.header = header
        self.operations = operations
        self.faults = faults
    }

    /// A line that could not be read; lines count from 1.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        public var line: Int
        public var cause: HistoryError

        public var description: String { "line \(line): \(cause)" }
    }

    /// Reads JSON lines; empty lines are skipped.
    public init(reading bytes: [UInt8]) throws(ReadingError) {
        self.init()
        var number = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x0d || $0 == 0x09 }) { continue }
            do {
                try read(line: Array(line))
            } catch {
                throw ReadingError(line: number, cause: error)
            }
        }
    }

    public init(reading text: String) throws(ReadingError) {
        try self.init(reading: [UInt8](text.utf8))
    }

    private mutating func read(line: [UInt8]) throws(HistoryError) {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: line)
        } catch {
            throw .notJSON(error)
        }
        if json["header"] != nil {
            header = json
        } else if let kind = json["fault"] {
            guard let kind = kind.string else { throw .field("fault") }
            guard let start = json["t_ns"]?.integer else { throw .field("t_ns") }
            faults.append(
                Fault(
                    kind: kind, startNanoseconds: start, endNanoseconds: json["end_ns"]?.integer,
                    target: json["target"]?.string ?? ""))
        } else {
            operations.append(try HistoryOperation(json: json))
        }
    }

    /// The header, the operations and the faults as JSON lines, each ended by a line feed.
    public var text: String {
        var text = header.map { $0.description + "\n" } ?? ""
        for operation in operations { text += operation.line + "\n" }
        for fault in faults { text += fault.line + "\n" }
        return text
    }
}
