import Redis
import Testing

@Suite struct SlotTests {
    @Test func `the checksum is the one of the specification`() {
        #expect(HashSlot.crc16(bytes("123456789")) == 0x31c3)
    }

    // As CLUSTER KEYSLOT of Redis 7.0 answers.
    @Test(arguments: [
        ("foo", 12182), ("bar", 5061), ("{user1000}.following", 3443), ("user1000", 3443),
        ("{user1000}.followers", 3443),
        ("foo{}{bar}", 8363), ("foo{{bar}}zap", 4015), ("{bar", 4015), ("foo{bar}{zap}", 5061), ("", 0),
    ])
    func `a key's slot is the one that Redis finds`(key: String, slot: Int) {
        #expect(HashSlot.of(bytes(key)) == slot)
    }

    private let asked = RedisSettings.Endpoint(host: "seed", port: 1)

    private func range(_ first: Int64, _ last: Int64, _ host: RedisReply, _ port: Int64) -> RedisReply {
        .array([.integer(first), .integer(last), .array([host, .integer(port), .bytes(bytes("id"))])])
    }

    @Test func `a map is read, and a server that does not know its name is the one that was asked`() throws {
        let map = try #require(
            SlotMap(
                .array([
                    range(0, 99, .bytes(bytes("a")), 7), range(200, 200, .null, 8), range(300, 16_383, .bytes([]), 9),
                ]), from: asked))
        #expect(map[0] == .init(host: "a", port: 7) && map[99] == .init(host: "a", port: 7))
        #expect(map[100] == nil && map[201] == nil)
        #expect(map[200] == .init(host: "seed", port: 8) && map[16_383] == .init(host: "seed", port: 9))
        #expect(map.masters.count == 3)
    }

    @Test func `what is no map is refused`() {
        let host = RedisReply.bytes(bytes("a"))
        for wrong: RedisReply in [
            .status("OK"), .array([.null]), .array([range(5, 4, host, 1)]), .array([range(-1, 4, host, 1)]),
            .array([range(0, 16_384, host, 1)]), .array([range(0, 1, host, 0)]), .array([range(0, 1, host, 70_000)]),
            .array([.array([.integer(0), .integer(1)])]),
        ] { #expect(SlotMap(wrong, from: asked) == nil) }
    }

    @Test func `one slot moves`() throws {
        var map = try #require(SlotMap(.array([range(0, 16_383, .bytes(bytes("a")), 7)]), from: asked))
        map.move(5, to: .init(host: "b", port: 8))
        #expect(map[4]?.host == "a" && map[5]?.host == "b" && map[6]?.host == "a")
    }

    @Test func `redirections are read`() {
        func read(_ answer: String) -> Redirection? { Redirection(.error(RedisError(answer: answer)), from: asked) }
        #expect(read("MOVED 3999 127.0.0.1:6381") == .moved(slot: 3999, .init(host: "127.0.0.1", port: 6381)))
        #expect(read("MOVED 1 ::1:6381") == .moved(slot: 1, .init(host: "::1", port: 6381)))
        #expect(read("ASK 3999 :6381") == .ask(.init(host: "seed", port: 6381)))
        #expect(read("TRYAGAIN Multiple keys request during rehashing of slot") == .tryAgain)
        for wrong in [
            "MOVED", "MOVED 1", "MOVED x a:1", "MOVED 16384 a:1", "MOVED 1 a", "MOVED 1 a:0", "ERR MOVED 1 a:1",
        ] {
            #expect(read(wrong) == nil)
        }
        #expect(Redirection(.status("MOVED 1 a:1"), from: asked) == nil)
    }
}
