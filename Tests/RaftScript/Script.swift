/// Runs the cases of one file against the cores, in their order.
public struct Script: Sendable {
    /// The first case that answered something else.
    public struct Difference: Hashable, Sendable {
        public var line: Int
        public var title: String
        public var expected: String
        public var actual: String

        public init(line: Int, title: String, expected: String, actual: String) {
            self.line = line
            self.title = title
            self.expected = expected
            self.actual = actual
        }
    }

    public let cases: [ScriptCase]

    /// - Throws: ``ScriptError`` for text that is not of the format.
    public init(_ text: String) throws(ScriptError) {
        cases = try ScriptParser.parse(text)
    }

    /// - Returns: the first difference; nil when every case answers what it should.
    /// - Throws: ``ScriptError`` for a case that asks for what this interpreter does not know.
    public func run() throws(ScriptError) -> Difference? {
        var configurations = ConfigurationScript()
        for next in cases {
            var actual =
                switch next.command {
                case "committed", "vote": try QuorumScript(next).answer()
                case "simple", "enter-joint", "leave-joint": try configurations.answer(next)
                default: throw ScriptError(line: next.line, reason: "unknown command \(next.command)")
                }
            if !actual.isEmpty, !actual.hasSuffix("\n") { actual += "\n" }
            if actual != next.expected {
                return Difference(line: next.line, title: next.title, expected: next.expected, actual: actual)
            }
        }
        return nil
    }
}
