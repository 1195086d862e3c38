/// Reads the data-driven format in which the cases of other implementations are published.
///
///     # A comment, outside of cases.
///     command key key=value key=(value, value)
///     input, any number of lines, or none
///     ----
///     expected output, up to a blank line or the end
///
/// Output with blank lines in it stands between `----` twice in two lines, and the same again. A command may go on in the
/// next line after a backslash.
struct ScriptParser {
    private static let separator = "----"

    private let lines: [Substring]
    private var next = 0

    private init(_ text: String) {
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.hasSuffix("\r") ? line.dropLast() : line
        }
    }

    /// - Throws: ``ScriptError`` for text that is not of the format.
    static func parse(_ text: String) throws(ScriptError) -> [ScriptCase] {
        var parser = ScriptParser(text)
        var cases: [ScriptCase] = []
        while let next = try parser.readCase() { cases.append(next) }
        return cases
    }

    private mutating func readCase() throws(ScriptError) -> ScriptCase? {
        while next < lines.count, lines[next].isBlank || lines[next].hasPrefix("#") { next += 1 }
        guard next < lines.count else { return nil }
        let line = next + 1
        let (command, arguments) = try Self.readCommand(readDirective(), at: line)
        var input: [Substring] = []
        while true {
            guard next < lines.count else {
                throw ScriptError(line: line, reason: "\(command) is not followed by \(Self.separator)")
            }
            defer { next += 1 }
            if lines[next] == Self.separator { break }
            input.append(lines[next])
        }
        return ScriptCase(
            line: line, command: command, arguments: arguments, input: input.joined(separator: "\n").trimmed,
            expected: try readExpected(of: command, at: line))
    }

    private mutating func readDirective() -> String {
        var directive = ""
        while next < lines.count {
            let line = lines[next]
            next += 1
            guard line.hasSuffix("\\") else { return directive + line }
            directive += line.dropLast()
        }
        return directive
    }

    private mutating func readExpected(of command: String, at line: Int) throws(ScriptError) -> String {
        var expected = ""
        guard next < lines.count, lines[next] == Self.separator else {
            while next < lines.count, !lines[next].isBlank {
                expected += lines[next] + "\n"
                next += 1
            }
            return expected
        }
        next += 1
        while next + 1 < lines.count {
            if lines[next] == Self.separator, lines[next + 1] == Self.separator {
                next += 2
                return expected
            }
            expected += lines[next] + "\n"
            next += 1
        }
        throw ScriptError(
            line: line, reason: "the output of \(command) is not closed by \(Self.separator) in two lines")
    }

    // MARK: One line

    private static func readCommand(
        _ directive: String, at line: Int
    ) throws(ScriptError) -> (command: String, arguments: [ScriptCase.Argument]) {
        var words = try split(directive, at: line)
        let command = words.removeFirst()
        if command.contains("=") { throw ScriptError(line: line, reason: "\(command) is no command") }
        var arguments: [ScriptCase.Argument] = []
        for word in words {
            guard let equals = word.firstIndex(of: "=") else {
                arguments.append(ScriptCase.Argument(key: word, values: []))
                continue
            }
            let key = String(word[..<equals])
            let value = word[word.index(after: equals)...]
            guard value.hasPrefix("("), value.hasSuffix(")") else {
                arguments.append(ScriptCase.Argument(key: key, values: [String(value)]))
                continue
            }
            let list = value.dropFirst().dropLast()
            let values = list.isBlank ? [] : list.split(separator: ",", omittingEmptySubsequences: false)
            arguments.append(ScriptCase.Argument(key: key, values: values.map { String($0).trimmed }))
        }
        return (command, arguments)
    }

    /// Words are parted by white space outside of parentheses.
    private static func split(_ directive: String, at line: Int) throws(ScriptError) -> [String] {
        var words: [String] = []
        var word = ""
        var depth = 0
        for character in directive {
            if character == "(" { depth += 1 }
            if character == ")" { depth -= 1 }
            if depth < 0 { break }
            if character.isWhitespace, depth == 0 {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.append(character)
            }
        }
        guard depth == 0 else { throw ScriptError(line: line, reason: "parentheses do not match") }
        if !word.isEmpty { words.append(word) }
        return words
    }
}

extension StringProtocol {
    fileprivate var isBlank: Bool { allSatisfy(\.isWhitespace) }

    fileprivate var trimmed: String {
        var rest = self[...]
        while rest.first?.isWhitespace == true { rest = rest.dropFirst() }
        while rest.last?.isWhitespace == true { rest = rest.dropLast() }
        return String(rest)
    }
}
