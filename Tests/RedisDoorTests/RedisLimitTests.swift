import CacheCore
import EsperTypes
import KernelCache
import RedisDoor
import TestSupport
import Testing

/// What a client may ask for, and what it costs the node at most.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RedisLimitTests {
    private static let store = [RedisUser(name: "default", tenant: "t", kind: .store)]

    private func bulk(_ words: [UInt8]...) -> [UInt8] { RequestParser.array(of: words) }

    private func word(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test func `a value ends at the limit, wherever its bytes come from`() async throws {
        try await TestDoor.with(Self.store, change: { $0.maximumBulkBytes = 2 << 20 }) { served in
            let client = try served.client(seconds: 30)
            let last = (2 << 20) - 1
            #expect(try client.ask("SETRANGE x \(last) a") == ":\(last + 1)")
            #expect(try client.ask("STRLEN x") == ":\(last + 1)")
            #expect(try client.ask("GETRANGE x \(last) -1") == "$1 a")
            for line in [
                "SETRANGE x \(last + 1) a", "SETRANGE x 9223372036854775807 a", "SETRANGE y \(last) ab", "APPEND x a",
            ] {
                #expect(try client.ask(line).hasPrefix("-ERR string exceeds maximum allowed size"), "\(line)")
            }
            try client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(last + 2)\r\n")
            #expect(try client.answer() == "-ERR Protocol error: invalid bulk length")
        }
    }

    @Test func `the longest value that Redis allows neither stops the node nor its other clients`() async throws {
        // Reading its end back is no matter of a second on a machine that does other things as well.
        try await TestDoor.with(Self.store, change: { $0.answerWithin = .seconds(60) }) { served in
            let client = try served.client(seconds: 60)
            try client.send("SETRANGE x 536870911 a\r\n")
            #expect(try served.client().ask("PING") == "+PONG")
            #expect(try client.answer() == ":536870912")
            #expect(try client.ask("SETRANGE x 536870912 a").hasPrefix("-ERR string exceeds maximum allowed size"))
            #expect(try client.ask("GETRANGE x 536870910 -1").hasSuffix("a"))
        }
    }

    @Test func `answers that would not fit the memory for values are refused, and the memory comes back`() async throws
    {
        try await TestDoor.with(Self.store, change: { $0.valueBytes = 4 << 20 }) { served in
            let client = try served.client(seconds: 30)
            try client.send(bulk(word("SET"), word("k"), [UInt8](repeating: 120, count: 1 << 20)))
            #expect(try client.answer() == "+OK")
            for _ in 0..<5 {
                #expect(try client.ask("MGET k k k").utf8.count > 3 << 20)
                #expect(try client.ask("MGET " + String(repeating: "k ", count: 5)).hasPrefix("-OOM overloaded"))
            }
            #expect(try client.ask("SETRANGE long 4194304 a").hasPrefix("-OOM overloaded"))
            served.cache.answerLocally(false)
            #expect(try client.ask("MGET " + String(repeating: "k ", count: 5)).hasPrefix("-OOM overloaded"))
            #expect(try client.ask("GET k").utf8.count > 1 << 20)
            #expect(try client.ask("MULTI") == "+OK")
            for _ in 0..<5 { #expect(try client.ask("GET k") == "+QUEUED") }
            let answers = try client.ask("EXEC")
            #expect(answers.utf8.count > 3 << 20 && answers.utf8.count < 5 << 20)
            #expect(answers.contains("-OOM overloaded"))
        }
    }

    @Test func `a cache finds nothing when there is no room for it`() async throws {
        try await TestDoor.with(change: { $0.valueBytes = 1 << 20 }) { served in
            let client = try served.client(seconds: 30)
            try client.send(bulk(word("SET"), word("k"), [UInt8](repeating: 120, count: 600 << 10)))
            #expect(try client.answer() == "+OK")
            #expect(try client.ask("MGET k k") == "*2 [$-1, $-1]")
            #expect(try client.ask("GET k").utf8.count > 600 << 10)
        }
    }

    @Test func `requests that grow beyond the memory for values end their connections`() async throws {
        try await TestDoor.with(change: { $0.valueBytes = 1 << 20 }) { served in
            let client = try served.client(seconds: 30)
            // The door may be gone before all is sent.
            try? client.send(bulk(word("SET"), word("k"), [UInt8](repeating: 120, count: 8 << 20)))
            #expect(client.isClosed())
            #expect(try served.client().ask("GET k") == "$-1")
        }
    }

    @Test func `transactions are bounded like values`() async throws {
        try await TestDoor.with(change: { $0.valueBytes = 1 << 20 }) { served in
            let client = try served.client(seconds: 30)
            #expect(try client.ask("MULTI") == "+OK")
            let set = bulk(word("SET"), word("k"), [UInt8](repeating: 120, count: 60_000))
            var answers: Set<String> = []
            for _ in 0..<40 {
                try client.send(set)
                answers.insert(try client.answer())
            }
            #expect(answers.count == 2)
            #expect(answers.contains { $0.hasPrefix("-OOM overloaded") })
            #expect(try client.ask("EXEC").hasPrefix("-EXECABORT"))
            #expect(try client.ask("SET k 1") == "+OK")
        }
    }
}
