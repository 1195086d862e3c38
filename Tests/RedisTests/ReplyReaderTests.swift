import NIOCore
import Redis
import TestSupport
import Testing

@Suite struct ReplyReaderTests {
    private static let wire = """
        +OK\r\n-OOM command not allowed\r\n:-42\r\n$-1\r\n$0\r\n\r\n$5\r\na\r\n\u{0}b\r\n*-1\r\n*0\r\n\
        *3\r\n$1\r\nx\r\n*2\r\n:1\r\n$-1\r\n+fine\r\n
        """
    private static let replies: [RedisReply] = [
        .status("OK"), .error(RedisError(.server, "Redis says: OOM command not allowed", code: "OOM")), .integer(-42),
        .null, .bytes([]), .bytes([0x61, 13, 10, 0, 0x62]), .null, .array([]),
        .array([.bytes([0x78]), .array([.integer(1), .null]), .status("fine")]),
    ]

    /// What comes of the pieces, up to an error.
    private func read(_ pieces: [[UInt8]], limit: Int = 1 << 20) throws(RedisError) -> [RedisReply] {
        let reader = ReplyReader(maximumReplyBytes: limit)
        var replies: [RedisReply] = []
        for piece in pieces {
            try reader.feed(ByteBuffer(bytes: piece))
            while let reply = try reader.next() { replies.append(reply) }
        }
        return replies
    }

    @Test func `every kind of reply is read, whole, byte by byte and in two parts`() throws {
        let wire = Array(Self.wire.utf8)
        #expect(try read([wire]) == Self.replies)
        #expect(try read(wire.map { [$0] }) == Self.replies)
        for cut in wire.indices {
            #expect(try read([Array(wire[..<cut]), Array(wire[cut...])]) == Self.replies)
        }
    }

    @Test func `a reply beyond the limit is refused before it is whole`() {
        let start = bytes("$600000000\r\n") + [UInt8](repeating: 1, count: 4096)
        let error = #expect(throws: RedisError.self) { try read([start], limit: 1024) }
        #expect(error?.kind == .malformedAnswer)
        #expect(error?.message.contains("1024 bytes") == true)
    }

    @Test func `replies that fit the limit never add up to it`() throws {
        let one = bytes("$500\r\n") + [UInt8](repeating: 7, count: 500) + bytes("\r\n")
        let reader = ReplyReader(maximumReplyBytes: 1024)
        for _ in 0..<100 {
            try reader.feed(ByteBuffer(bytes: one + one + one))
            for _ in 0..<3 { #expect(try reader.next() == .bytes([UInt8](repeating: 7, count: 500))) }
            #expect(try reader.next() == nil)
        }
    }

    @Test(arguments: ["*2147483647\r\n", "*65537\r\n", "*1\r\n*2000000000\r\n"])
    func `memory for an announced array is not taken`(start: String) {
        let error = #expect(throws: RedisError.self) { try read([bytes(start)]) }
        #expect(error?.kind == .malformedAnswer)
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n", "%1\r\n", "$-7\r\n", "$12a\r\n", "*1\r\nx", ":\r\n", "\u{16}\u{3}",
    ])
    func `what is not the protocol is one clear error`(start: String) {
        let error = #expect(throws: RedisError.self) { try read([bytes(start)]) }
        #expect(error?.kind == .malformedAnswer)
        #expect(error?.message.contains("\n") == false)
    }

    @Test func `arrays within arrays have a bottom`() {
        let error = #expect(throws: RedisError.self) {
            try read([bytes(String(repeating: "*1\r\n", count: 10_000))])
        }
        #expect(error?.kind == .malformedAnswer)
    }

    @Test func `changed bytes give replies or errors`() {
        let mutator = ByteMutator(others: [bytes("*3\r\n$3\r\nfoo\r\n:1\r\n-ERR\r\n")], maximumStretch: 40)
        var generator = Numbers(state: 7)
        var (read, refused) = (0, 0)
        for _ in 0..<5000 {
            var wire = Array(Self.wire.utf8)
            mutator.mutate(&wire, using: &generator)
            do throws(RedisError) {
                _ = try self.read([wire])
                read += 1
            } catch {
                #expect(error.kind == .malformedAnswer)
                refused += 1
            }
        }
        #expect(read > 500 && refused > 500)
    }

    @Test func `errors of servers repeat neither what they were sent nor control characters`() {
        let error = RedisError(answer: "ERR unknown command 'AUTH', with args beginning with: 'secret' ")
        #expect(error.message == "Redis says: ERR unknown command 'AUTH'")
        #expect(RedisError(answer: "ERR a\u{1}\nb").message == "Redis says: ERR a??b")
        #expect(RedisError(answer: "no code").code == "ERR")
        #expect(RedisError(answer: String(repeating: "x", count: 5000)).message.utf8.count < 300)
    }

    /// The same numbers in every run (Knuth's MMIX generator).
    private struct Numbers: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }
}
