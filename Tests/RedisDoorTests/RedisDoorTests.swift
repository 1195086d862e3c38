import CacheCore
import EsperTypes
import Foundation
import KernelCache
import RedisDoor
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct RedisDoorTests {
    @Test func `answers keep the order of their requests, whatever is answered at once`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            #expect(try client.ask("SET a 1") == "+OK")
            served.cache.answerLocally(false)
            served.cache.hold(true)
            try client.send("GET a\r\nPING\r\nGET b\r\nSET a 2\r\nGET a\r\nECHO x\r\n")
            served.cache.hold(false)
            #expect(try (0..<6).map { _ in try client.answer() } == ["$1 1", "+PONG", "$-1", "+OK", "$1 2", "$1 x"])
        }
    }

    @Test func `many requests of one turn are all answered`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            let value = String(repeating: "v", count: 100_000)
            #expect(try client.ask("SET big \(value.prefix(60_000))") == "+OK")
            try client.send(String(repeating: "GET big\r\nGET none\r\n", count: 200))
            for _ in 0..<200 {
                #expect(try client.answer().utf8.count == 60_007)
                #expect(try client.answer() == "$-1")
            }
        }
    }

    @Test func `what comes after another command sees what that one saw`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            #expect(try client.ask("SET a 1") == "+OK")
            let get = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
            try client.send(get + "MGET a\r\n" + get + "*2\r\n$4\r\nMGET\r\n$1\r\na\r\n" + get)
            let answers = try (0..<5).map { _ in try client.answer() }
            #expect(answers == ["$1 1", "*1 [$1 1]", "$1 1", "*1 [$1 1]", "$1 1"])
            let name = Array("default/a".utf8)
            // One picture of the names for each: a later one may not show less than an earlier one.
            #expect(served.cache.turns.prefix(9) == [name, nil, name, nil, name, nil, name, nil, name])
        }
    }

    @Test func `a client that reads late gets every byte of its answers in order`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            for key in 0..<10 {
                #expect(try client.ask("SET k\(key) \(String(repeating: "\(key)", count: 50_000))") == "+OK")
            }
            let gets = (0..<10).map { "*2\r\n$3\r\nGET\r\n$2\r\nk\($0)\r\n" }.joined()
            // More than sockets hold, and than the door keeps for a client.
            for _ in 0..<40 { try client.send(gets) }
            for number in 0..<400 {
                #expect(try client.answer() == "$50000 " + String(repeating: "\(number % 10)", count: 50_000))
            }
        }
    }

    @Test func `a value of many blobs comes back whole`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            let value = [UInt8](repeating: 120, count: 3_500_000)
            try client.send(Array("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3500000\r\n".utf8) + value + [13, 10])
            #expect(try client.answer() == "+OK")
            #expect(served.cache.binding("default/k")?.manifest.blobs.count == 4)
            let found = try client.ask("GET k")
            #expect(found.utf8.count == 3_500_000 + 9)
            let length = try client.ask("STRLEN k")
            #expect(length == ":3500000")
        }
    }

    @Test func `a cache never answers SET with an error, and finds nothing instead of failing`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            served.cache.answerLocally(false)
            served.cache.fail(CacheFailure(.noLeader, "no leader"))
            for line in ["SET a 1", "SET a 1 EX 10", "SETEX a 10 1", "MSET a 1 b 2"] {
                #expect(try client.ask(line) == "+OK")
            }
            #expect(try client.ask("SET a 1 NX") == "$-1")
            #expect(try client.ask("GET a") == "$-1")
            #expect(try client.ask("EXISTS a") == ":0")
        }
    }

    @Test func `a store says what went wrong`() async throws {
        try await TestDoor.with([RedisUser(name: "default", tenant: "t", kind: .store)]) { served in
            let client = try served.client()
            served.cache.fail(CacheFailure(.noLeader, "no leader"))
            #expect(try client.ask("SET a 1") == "-TRYAGAIN no_leader: no leader")
            served.cache.fail(CacheFailure(.timedOut, "too late", outcome: .unknown))
            #expect(try client.ask("SET a 1") == "-UNKNOWN it may have been done or not: too late")
            served.cache.answerLocally(false)
            served.cache.fail(CacheFailure(.overloaded, "too many loads"))
            #expect(try client.ask("GET a") == "-OOM overloaded: too many loads")
        }
    }

    @Test func `an answer comes within its time, or the connection is closed`() async throws {
        try await TestDoor.with([RedisUser(name: "default", tenant: "t", kind: .store)]) { served in
            let client = try served.client(seconds: 5)
            served.cache.answerLocally(false)
            served.cache.hold(true)
            try client.send("GET a\r\n")
            let start = ContinuousClock.now
            #expect(client.isClosed())
            #expect(ContinuousClock.now - start < .seconds(4))
        }
    }

    @Test func `a cache that is stuck is answered for, and the connection goes on`() async throws {
        try await TestDoor.with { served in
            let client = try served.client(seconds: 5)
            served.cache.answerLocally(false)
            served.cache.hold(true)
            let start = ContinuousClock.now
            try client.send("GET a\r\nSET a 1\r\nPING\r\n")
            #expect(try client.answer() == "$-1")
            #expect(try client.answer() == "+OK")
            #expect(try client.answer() == "+PONG")
            // Each has a second; one more for a machine that is busy.
            #expect(ContinuousClock.now - start < .seconds(3))
        }
    }

    @Test func `counters are exact however many add`() async throws {
        try await TestDoor.with { served in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    // The client blocks: on a thread of its own, so that the door's tasks have theirs.
                    group.addTask {
                        try await onThread {
                            let client = try served.client()
                            for _ in 0..<50 { _ = try client.ask("INCR n") }
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try served.client().ask("GET n") == "$3 400")
        }
    }

    @Test func `users see their own tenant, and do what they may`() async throws {
        // SHA-256 of "secret".
        let secret = Digest("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b")!
        let users = [
            RedisUser(name: "alice", password: .sha256(secret), tenant: "a"),
            RedisUser(name: "bob", password: .sha256(secret), tenant: "b", rights: .read),
            RedisUser(name: "carl", password: .sha256(secret), tenant: "a", rights: .write),
        ]
        try await TestDoor.with(users) { served in
            let client = try served.client()
            #expect(try client.ask("GET x") == "-NOAUTH Authentication required.")
            #expect(try client.ask("AUTH alice wrong").hasPrefix("-WRONGPASS"))
            #expect(try client.ask("HELLO 3").hasPrefix("-NOAUTH HELLO must be called"))
            #expect(try client.ask("AUTH alice secret") == "+OK")
            #expect(try client.ask("SET x 1") == "+OK")
            #expect(served.cache.binding("a/x")?.manifest.writer == "redis/alice")
            let other = try served.client()
            #expect(try other.ask("HELLO 2 AUTH bob secret").hasPrefix("*14"))
            #expect(try other.ask("GET x") == "$-1")
            #expect(try other.ask("KEYS *") == "*0 []")
            #expect(try other.ask("SET x 1") == "-NOPERM User bob has no permissions to run the 'set' command")
            // Nor does a write tell what stood there to whoever may not read.
            let writer = try served.client()
            #expect(try writer.ask("AUTH carl secret") == "+OK")
            #expect(try writer.ask("SET x 2") == "+OK")
            for command in ["GETSET x 3", "GETDEL x", "GETEX x PERSIST", "SET x 3 GET", "INCR x", "GET x"] {
                let name = command.prefix { $0 != " " }.lowercased()
                let answer = try writer.ask(command)
                #expect(answer == "-NOPERM User carl has no permissions to run the '\(name)' command", "\(command)")
            }
            #expect(try client.ask("GET x") == "$1 2")
        }
    }

    @Test func `whoever tracks is told of changes, after the answers before them`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            let writer = try served.client()
            #expect(try client.ask("HELLO 3").hasPrefix("%7"))
            #expect(try client.ask("CLIENT TRACKING ON") == "+OK")
            #expect(try client.ask("GET a") == "_")
            #expect(try writer.ask("SET a 1") == "+OK")
            #expect(try client.answer() == ">2 [$10 invalidate, *1 [$1 a]]")
            // Told once: it has to be read again first.
            #expect(try writer.ask("SET a 2") == "+OK")
            #expect(try client.ask("GET a") == "$1 2")
            #expect(try writer.ask("DEL a") == ":1")
            #expect(try client.answer() == ">2 [$10 invalidate, *1 [$1 a]]")
        }
    }

    @Test func `prefixes are told of all keys, but not of one's own changes`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            let writer = try served.client()
            _ = try client.ask("HELLO 3")
            #expect(try client.ask("CLIENT TRACKING ON BCAST PREFIX p: NOLOOP") == "+OK")
            #expect(try client.ask("SET p:own 1") == "+OK")
            #expect(try client.ask("DEL p:own") == ":1")
            #expect(try writer.ask("SET q:x 1") == "+OK")
            #expect(try writer.ask("SET p:x 1") == "+OK")
            #expect(try client.answer() == ">2 [$10 invalidate, *1 [$3 p:x]]")
        }
    }

    @Test func `whoever does not hear of its own changes hears of those of others`() async throws {
        try await TestDoor.with { served in
            let client = try served.client()
            let writer = try served.client()
            _ = try client.ask("HELLO 3")
            #expect(try client.ask("CLIENT TRACKING ON NOLOOP") == "+OK")
            // Nothing to delete, and then something that it does not track: neither is news to it, nor silences later news.
            #expect(try client.ask("DEL a") == ":0")
            #expect(try client.ask("SET b 1") == "+OK")
            #expect(try client.ask("DEL b") == ":1")
            for key in ["a", "b"] {
                #expect(try client.ask("GET \(key)") == "_")
                #expect(try writer.ask("SET \(key) 1") == "+OK")
                #expect(try client.answer() == ">2 [$10 invalidate, *1 [$1 \(key)]]")
            }
        }
    }

    @Test func `of too many tracked keys the one that was read first goes`() async throws {
        try await TestDoor.with(change: { $0.trackedKeys = 2 }) { served in
            let client = try served.client()
            let writer = try served.client()
            _ = try client.ask("HELLO 3")
            #expect(try client.ask("CLIENT TRACKING ON") == "+OK")
            #expect(try client.ask("GET a") == "_")
            #expect(try writer.ask("SET a 1") == "+OK")
            #expect(try client.answer() == ">2 [$10 invalidate, *1 [$1 a]]")
            #expect(try client.ask("GET b") == "_")
            #expect(try client.ask("GET a") == "$1 1")
            try client.send("GET c\r\n")
            #expect(Set([try client.answer(), try client.answer()]) == ["_", ">2 [$10 invalidate, *1 [$1 b]]"])
        }
    }

    private static let attempts = ["SET a 2", "SET a 2 EX 10", "SETEX a 10 2", "MSET b 1 a 2"]

    private func storeAction(_ name: String, in cache: MemoryArtifactCache) async throws {
        let reply = try await cache.store(
            StoreRequest(
                name: Array(name.utf8), kind: .action,
                manifest: Manifest(
                    writer: "a compiler", files: [.init(name: "", content: .inline([UInt8(ascii: "1")]))]),
                principal: "a compiler", deadline: .distantFuture))
        #expect(reply.isStored)
    }

    @Test func `a store says that an action is not replaced`() async throws {
        try await TestDoor.with([RedisUser(name: "default", tenant: "t", kind: .store)]) { served in
            try await storeAction("t/a", in: served.cache)
            let client = try served.client()
            let others = ["SET a 2 XX", "GETSET a 2", "INCR a", "APPEND a x", "EXPIRE a 10", "SETRANGE a 0 x"]
            for line in Self.attempts + others {
                let answer = try client.ask(line)
                #expect(answer.hasPrefix("-ERR conflict: an action is stored under this key"), "\(line): \(answer)")
            }
            #expect(try client.ask("SETNX a 2") == ":0")
            #expect(try client.ask("GET a") == "$1 1")
            #expect(try client.ask("DEL a") == ":1")
            #expect(try client.ask("SET a 2") == "+OK")
            #expect(try client.ask("GET a") == "$1 2")
        }
    }

    @Test func `a cache keeps an action and says nothing of it`() async throws {
        try await TestDoor.with { served in
            try await storeAction("default/a", in: served.cache)
            let client = try served.client()
            for line in Self.attempts { #expect(try client.ask(line) == "+OK") }
            #expect(try client.ask("SET a 2 XX") == "$-1")
            #expect(try client.ask("GET a") == "$1 1")
        }
    }

    @Test func `no hash rises again when the string in its place is gone`() async throws {
        try await TestDoor.with([RedisUser(name: "default", tenant: "t", kind: .store)]) { served in
            let client = try served.client()
            for line in ["SET h 1", "SET h 1 EX 100", "SETEX h 100 1", "PSETEX h 100000 1", "MSET h 1"] {
                #expect(try client.ask("HSET h field value") == ":1")
                #expect(try client.ask(line) == "+OK")
                #expect(try client.ask("GETDEL h") == "$1 1")
                #expect(try client.ask("TYPE h") == "+none", "\(line)")
            }
        }
    }

    @Test func `connections beyond the bound are told so`() async throws {
        try await TestDoor.with(change: { $0.maximumConnections = 1 }) { served in
            let first = try served.client()
            #expect(try first.ask("PING") == "+PONG")
            #expect(try served.client().answer() == "-ERR max number of clients reached")
        }
    }

    @Test func `the cost in a kernel's value is kept with its name`() async throws {
        try await TestDoor.with { served in
            let value = #"{"data": "abc", "time_taken_ms": 1234}"#
            let client = try served.client()
            try client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(value.utf8.count)\r\n\(value)\r\n")
            #expect(try client.answer() == "+OK")
            #expect(served.cache.binding("default/k")?.binding.costMilliseconds == 1234)
        }
    }
}
