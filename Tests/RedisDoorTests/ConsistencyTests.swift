import KernelCache
import RedisDoor
import Testing

/// What tenants are told by a node that has neither a lease nor a quorum.
@Suite(.timeLimit(.minutes(2))) struct ConsistencyTests {
    private func users(of kind: RedisUser.Kind) -> [RedisUser] {
        [
            RedisUser(name: "strict", tenant: "t", kind: kind),
            RedisUser(name: "lax", tenant: "t", kind: kind, consistency: .stale),
        ]
    }

    private func cutOff(_ served: TestDoor) {
        let failure = CacheFailure(.unconfirmed, "no quorum")
        served.cache.answerLocally(false)
        served.cache.fail(failure)
        served.hashes.fail(failure)
    }

    @Test func `a store that takes stale answers is told what the node knew last; another one that it cannot be known`()
        async throws
    {
        try await TestDoor.with(users(of: .store)) { served in
            let (strict, lax) = (try served.client(), try served.client())
            #expect(try strict.ask("AUTH strict x") == "+OK")
            #expect(try lax.ask("AUTH lax x") == "+OK")
            #expect(try strict.ask("SET a 1") == "+OK")
            #expect(try strict.ask("HSET h f v") == ":1")
            cutOff(served)
            let answers = [
                "GET a": "$1 1", "GET none": "$-1", "MGET a none": "*2 [$1 1, $-1]", "STRLEN a": ":1",
                "EXISTS a h none": ":2", "TYPE h": "+hash", "TTL a": ":-1", "HGET h f": "$1 v", "HLEN h": ":1",
                "HGETALL h": "*2 [$1 f, $1 v]",
            ]
            for (line, answer) in answers {
                #expect(try strict.ask(line) == "-TRYAGAIN unconfirmed: no quorum", "\(line)")
                #expect(try lax.ask(line) == answer, "\(line)")
            }
        }
    }

    @Test func `writes, what decides about them, and lists are never stale`() async throws {
        try await TestDoor.with(users(of: .store)) { served in
            let lax = try served.client()
            #expect(try lax.ask("AUTH lax x") == "+OK")
            #expect(try lax.ask("SET a 1") == "+OK")
            cutOff(served)
            let refused = "-TRYAGAIN unconfirmed: no quorum"
            for line in [
                "SET a 2", "SET a 2 NX", "INCR a", "GETDEL a", "EXPIRE a 10", "HSET h f w", "WATCH a", "KEYS *",
                "SCAN 0",
            ] {
                #expect(try lax.ask(line) == refused, "\(line)")
            }
            for (line, answer) in [
                ("MULTI", "+OK"), ("SET a 2", "+QUEUED"), ("GET a", "+QUEUED"), ("EXEC", "*2 [\(refused), $1 1]"),
            ] {
                #expect(try lax.ask(line) == answer)
            }
        }
    }

    @Test func `a cache that takes stale answers finds what another one misses`() async throws {
        try await TestDoor.with(users(of: .cache)) { served in
            let (strict, lax) = (try served.client(), try served.client())
            #expect(try strict.ask("AUTH strict x") == "+OK")
            #expect(try lax.ask("AUTH lax x") == "+OK")
            #expect(try strict.ask("SET a 1") == "+OK")
            cutOff(served)
            #expect(try strict.ask("GET a") == "$-1")
            #expect(try lax.ask("GET a") == "$1 1")
            #expect(try lax.ask("GET none") == "$-1")
        }
    }
}
