/// One case of a data-driven file: a command, what it is given, and what it must answer.
public struct ScriptCase: Hashable, Sendable {
    /// `key`, `key=value` or `key=(value, value)`.
    public struct Argument: Hashable, Sendable {
        public var key: String
        public var values: [String]
    }

    /// Where the command stands, from 1.
    public var line: Int
    public var command: String
    public var arguments: [Argument]
    /// The lines between the command and `----`, without white space around them.
    public var input: String
    /// Whole lines, each with its end.
    public var expected: String

    /// The command as it is written, on one line.
    public var title: String {
        ([command] + arguments.map(\.description)).joined(separator: " ")
    }
}

extension ScriptCase.Argument: CustomStringConvertible {
    public var description: String {
        switch values.count {
        case 0: key
        case 1: key + "=" + values[0]
        default: key + "=(" + values.joined(separator: ",") + ")"
        }
    }
}

/// Why a file cannot be judged.
public struct ScriptError: Error, Hashable, Sendable, CustomStringConvertible {
    public var line: Int
    public var reason: String

    public var description: String { "line \(line): \(reason)" }
}
