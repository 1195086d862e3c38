import Glibc
import RaftScript
import Testing

@Suite struct ScriptTests {
    /// Every file in `cases`, by name; published files of the format can be added as they are.
    private static let files: [String] = {
        var names: [String] = []
        guard let directory = opendir(path("")) else { return [] }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".txt") { names.append(name) }
        }
        return names.sorted()
    }()

    private static func path(_ name: String) -> String {
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/cases/"
            + name
    }

    private static func read(_ name: String) throws -> String {
        let stream = try #require(fopen(path(name), "rb"))
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { bytes += buffer[..<count] }
        return try #require(String(validating: bytes, as: UTF8.self))
    }

    @Test func `there are case files`() { #expect(Self.files.count >= 5) }

    @Test(arguments: files)
    func `every case of a file answers what it should`(file: String) throws {
        let script = try Script(try Self.read(file))
        #expect(script.cases.count > 1)
        #expect(try script.run() == nil)
    }

    @Test func `the first difference is told, with its place`() throws {
        let script = try Script(
            "# one\nvote cfg=(1) votes=(y)\n----\nVoteWon\n\nvote cfg=(1) votes=(n)\n----\nVoteWon\n")
        #expect(
            try script.run()
                == Script.Difference(
                    line: 6, title: "vote cfg=1 votes=n", expected: "VoteWon\n", actual: "VoteLost\n"))
    }

    @Test func `a command has arguments, goes on after a backslash, and takes lines of input`() throws {
        let text = "do a b=c d=(e, f ,g) \\\n  h=()\n\none\n\n  two \n----\nout\n\nnext\n----\n"
        let cases = try Script(text).cases
        #expect(cases.count == 2)
        #expect(cases[0].command == "do")
        #expect(cases[0].arguments.map(\.key) == ["a", "b", "d", "h"])
        #expect(cases[0].arguments.map(\.values) == [[], ["c"], ["e", "f", "g"], []])
        #expect(cases[0].input == "one\n\n  two")
        #expect(cases[0].expected == "out\n")
        #expect(cases[1].line == 10 && cases[1].expected.isEmpty)
    }

    @Test func `output with blank lines stands between doubled separators`() throws {
        let cases = try Script("one\n----\n----\na\n\n----\nb\n----\n----\n\ntwo\n----\nc\n").cases
        #expect(cases.map(\.expected) == ["a\n\n----\nb\n", "c\n"])
    }

    @Test(arguments: [
        ("one\ntwo", 1), ("\n\none (a\n----\n", 3), ("one a)\n----\n", 1), ("a=b\n----\n", 1),
        ("one\n----\n----\na\n", 1),
        ("vote cfg=(1) votes=(maybe)\n----\n", 1), ("vote cfg=(1,2) votes=(y)\n----\n", 1),
        ("vote cfg=(x) votes=(y)\n----\n", 1),
        ("# first\ncommitted cfg=(1) idx=(0)\n----\n", 2), ("committed cfg=(1) votes=(y)\n----\n", 1),
        ("simple\nx1\n----\n", 1), ("simple\nv\n----\n", 1), ("dance\n----\n", 1),
    ])
    func `what cannot be understood is an error with its line`(text: String, line: Int) {
        do throws(ScriptError) {
            _ = try Script(text).run()
            Issue.record("no error")
        } catch {
            #expect(error.line == line)
            #expect(!error.reason.isEmpty)
        }
    }
}
