import RedisDoor
import TestSupport
import Testing

@Suite struct RequestParserTests {
    /// Everything a parser makes of some bytes that come in pieces of the given size.
    private func parse(
        _ bytes: [UInt8], by size: Int, limits: RequestParser.Limits = .init()
    ) -> (requests: [[String]], failure: String?) {
        var parser = RequestParser()
        var input: [UInt8] = []
        var requests: [[String]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            input += rest.prefix(size)
            rest = rest.dropFirst(size)
            var goesOn = true
            while goesOn {
                let failure: String? = input.withUnsafeBytes { raw in
                    do throws(RequestParser.Failure) {
                        switch try parser.next(in: raw, limits: limits) {
                        case .needsMore: goesOn = false
                        case .line(let line): if !line.isEmpty { requests += parse(line, by: line.count).requests }
                        case .request:
                            requests.append(
                                parser.arguments.map { String(decoding: raw[$0.range], as: UTF8.self) })
                        }
                        return nil
                    } catch {
                        return error.message
                    }
                }
                if let failure { return (requests, failure) }
            }
            input.removeFirst(parser.consumed)
            parser.dropConsumed()
        }
        return (requests, nil)
    }

    private static func wire(_ key: String) -> String { "*2\r\n$3\r\nGET\r\n$\(key.utf8.count)\r\n\(key)\r\n" }

    @Test func `a plain read is seen when it is all there, and not before`() throws {
        for key in ["a", "key:000000000012", String(repeating: "k", count: 65_537)] {
            let bytes = Array(Self.wire(key).utf8)
            var parser = RequestParser()
            for end in bytes.indices where end < 400 || end > bytes.count - 5 {
                bytes[..<end].withUnsafeBytes { #expect(parser.plainGet(in: $0, limits: .init()) == nil) }
            }
            try bytes.withUnsafeBytes { bytes in
                let slice = try #require(parser.plainGet(in: bytes, limits: .init()))
                #expect(String(decoding: bytes[slice.range], as: UTF8.self) == key)
                #expect(parser.plainGet(in: bytes, limits: .init(bulkBytes: key.utf8.count - 1)) == nil)
                parser.pass(slice)
                #expect(parser.consumed == bytes.count)
                #expect(try parser.next(in: bytes, limits: .init()) == .needsMore)
            }
        }
    }

    @Test(arguments: [
        "*2\r\n$3\r\nDEL\r\n$16\r\nkey:000000000012\r\n", "*2\r\n$3\r\nGET\r\n$0\r\n\r\nPING\r\n",
        "*2\r\n$3\r\nGET\r\n$01\r\na\r\n", "*2\r\n$3\r\nGET\r\n$-1\r\nabcd", "*2\r\n$3\r\nGET\r\n$1\rxab\r\n",
        "*2\r\n$3\r\nGET\r\n$99999999999\r\na\r\n", "*3\r\n$3\r\nGET\r\n$1\r\na\r\n$1\r\nb\r\n",
        "GET 123456789012345678\r\n",
    ]) func `what only looks like a plain read is left to the parser`(_ text: String) {
        let parser = RequestParser()
        Array(text.utf8).withUnsafeBytes { #expect(parser.plainGet(in: $0, limits: .init()) == nil) }
    }

    @Test func `plain reads between other requests change nothing for these`() throws {
        let bytes = Array(
            (Self.wire("a") + "PING\r\n" + Self.wire("b").lowercased() + Self.wire("c") + "*1\r\n$4\r\nP").utf8)
        var parser = RequestParser()
        var seen: [String] = []
        try bytes.withUnsafeBytes { bytes in
            while true {
                if let key = parser.plainGet(in: bytes, limits: .init()) {
                    seen.append(String(decoding: bytes[key.range], as: UTF8.self))
                    parser.pass(key)
                    continue
                }
                switch try parser.next(in: bytes, limits: .init()) {
                case .line: seen.append("line")
                case .request: seen.append("request")
                case .needsMore: return
                }
            }
        }
        #expect(seen == ["a", "line", "b", "c"])
        // The head of the array has been read, and waits for the rest.
        #expect(parser.consumed == bytes.count - 9)
    }

    private let stream = Array(
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n*0\r\n\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nx\r\ny*1\r\n$4!!\r\nset k \"a\\x41 \\\"b\" 'c d'\r\n*-1\r\nECHO  two\n"
            .utf8)

    @Test func `requests are the same however their bytes are cut`() {
        let expected = [
            ["GET", "a"], ["PING"], ["SET", "", "x\r\ny*1\r\n$4!!"], ["set", "k", "aA \"b", "c d"], ["ECHO", "two"],
        ]
        for size in 1...stream.count {
            let result = parse(stream, by: size)
            #expect(result.requests == expected, "pieces of \(size)")
            #expect(result.failure == nil)
        }
    }

    @Test(arguments: [
        ("*1\r\n+PING\r\n", "Protocol error: expected '$', got '+'"),
        ("*x\r\n", "Protocol error: invalid multibulk length"),
        ("*99999999999\r\n", "Protocol error: invalid multibulk length"),
        ("*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        ("*1\r\n$01\r\n", "Protocol error: invalid bulk length"),
        ("*1\r\n$1025\r\n", "Protocol error: invalid bulk length"),
        ("get \"a\r\n", "Protocol error: unbalanced quotes in request"),
        ("get 'a'b\r\n", "Protocol error: unbalanced quotes in request"),
    ])
    func `what makes no sense is refused in Redis's words`(bytes: String, message: String) {
        #expect(parse(Array(bytes.utf8), by: 100, limits: .init(bulkBytes: 1024)).failure == message)
    }

    @Test func `a line without an end is refused`() {
        let line = [UInt8](repeating: 97, count: 70_000)
        #expect(parse(line, by: 1000).failure == "Protocol error: too big inline request")
        #expect(parse([42] + line, by: 1000).failure == "Protocol error: too big mbulk count string")
    }

    @Test func `somebody unknown may send little`() {
        var parser = RequestParser()
        #expect(throws: RequestParser.Failure.self) {
            try Array("*11\r\n".utf8).withUnsafeBytes {
                _ = try parser.next(in: $0, limits: .init(), isAuthenticated: false)
            }
        }
    }

    @Test func `mutated bytes never trap, and mean the same in one piece as in many`() {
        var generator = SeededGenerator(state: 7)
        let mutator = ByteMutator()
        for _ in 0..<3000 {
            var bytes = stream
            mutator.mutate(&bytes, using: &generator)
            let whole = parse(bytes, by: max(1, bytes.count))
            let pieces = parse(bytes, by: Int.random(in: 1...9, using: &generator))
            #expect(whole.requests == pieces.requests)
            #expect(whole.failure == pieces.failure)
        }
    }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct RedisValueTests {
    @Test(arguments: [
        ("*", "", true), ("a*c", "abbc", true), ("a*c", "abbd", false), ("h?llo", "hello", true),
        ("h[ae]llo", "hallo", true), ("h[^e]llo", "hello", false), ("h[a-c]llo", "hbllo", true), ("\\*", "*", true),
        ("\\*", "a", false), ("a[", "ab", false), ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaac", false),
    ])
    func `patterns match as in Redis`(pattern: String, text: String, isMatch: Bool) {
        #expect(Glob(Array(pattern.utf8)).matches(Array(text.utf8)) == isMatch)
    }

    @Test(arguments: [
        (#"{"data": "abc", "time_taken_ms": 1234}"#, 1234), (#"{"time_taken_ms":7,"data":"x"}"#, 7),
        (#"{"data": "abc"}"#, 0), ("{}", 0), ("", 0), (#"{"time_taken_ms": "x"}"#, 0),
        (#"{"time_taken_ms": 99999999999}"#, UInt32.max),
    ])
    func `a kernel's cost is read from its value`(value: String, cost: UInt32) {
        #expect(KernelCost.milliseconds(in: Array(value.utf8)) == cost)
    }

    @Test func `hashes and fields are told apart whatever bytes they have`() {
        let prefix = Array("t/".utf8)
        for key in [[], [0], [0, 1], [1, 0, 255], [97, 0, 1, 98]] as [[UInt8]] {
            for field in [[], [0], [0, 1, 2]] as [[UInt8]] {
                let parsed = HashKey.parse(HashKey.field(field, of: key, in: prefix), in: prefix)
                #expect(parsed?.key == key)
                #expect(parsed?.field == field)
            }
        }
    }
}
