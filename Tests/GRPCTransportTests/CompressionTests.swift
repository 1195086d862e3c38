import GRPCTransport
import NIOCore
import Testing

/// Requests in gzip, answers as they are.
@Suite(.timeLimit(.minutes(1)), .serialized)
struct CompressionTests {
    private static let samples: [[UInt8]] = [
        [], [1], (0..<300).map { UInt8(truncatingIfNeeded: $0) }, [UInt8](repeating: 7, count: 200_000),
        (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) },
    ]

    @Test(arguments: samples)
    func `what was packed comes back, and nothing above the limit`(sample: [UInt8]) throws {
        let packed = gzipped(sample)
        #expect(try Gzip.inflate(packed, maximumBytes: sample.count) == sample)
        #expect(try Gzip.inflate(packed + packed, maximumBytes: 2 * sample.count) == sample + sample)
        if !sample.isEmpty {
            #expect(throws: Gzip.Failure.tooLarge) { try Gzip.inflate(packed, maximumBytes: sample.count - 1) }
        }
    }

    @Test func `damaged gzip is refused, cut and flipped everywhere`() {
        let sample = [UInt8]("the quick brown fox jumps over the lazy dog, the quick brown fox".utf8)
        let packed = gzipped(sample)
        for count in 0..<packed.count {
            #expect(throws: Gzip.Failure.malformed) {
                try Gzip.inflate([UInt8](packed.prefix(count)), maximumBytes: 1000)
            }
        }
        for place in packed.indices {
            for bit in 0..<8 {
                var flipped = packed
                flipped[place] ^= 1 << UInt8(bit)
                // Parts of the header mean nothing to the content; the checksum guards the rest.
                if let unpacked = try? Gzip.inflate(flipped, maximumBytes: 1000) { #expect(unpacked == sample) }
            }
        }
    }

    @Test func `a bomb is not unpacked past the limit`() throws {
        // A gigabyte of zeros in a megabyte, twenty members of it.
        let member = gzipped([UInt8](repeating: 0, count: 50 << 20))
        let bomb = (0..<20).flatMap { _ in member }
        let before = try residentBytes()
        for _ in 0..<50 {
            #expect(throws: Gzip.Failure.tooLarge) { try Gzip.inflate(bomb, maximumBytes: 4 << 20) }
        }
        #expect(try residentBytes() - before < 32 << 20)
    }

    private static func request(_ path: String, encoding: String?) -> [UInt8] {
        RawClient.request(path) + (encoding.map { RawClient.fields([("grpc-encoding", $0)]) } ?? [])
    }

    private static func framed(_ message: [UInt8], flag: UInt8) -> [UInt8] {
        [flag] + withUnsafeBytes(of: UInt32(message.count).bigEndian) { [UInt8]($0) } + message
    }

    /// Sends one request as it is and hands over all that came back on its stream, headers as they stand on the wire.
    private static func answer(
        to body: [UInt8], encoding: String?, path: String = "/test.Echo/unary", options: TransportOptions = .server
    ) async throws -> (messages: [UInt8], fields: [String: String]) {
        var result: (messages: [UInt8], fields: [String: String]) = ([], [:])
        try await EchoServer.run(options: options) { server in
            let (client, channel) = try await RawClient.connect(to: server)
            var bytes = RawClient.preface + RawClient.openWindows
            bytes += RawClient.frame(1, flags: 4, stream: 1, request(path, encoding: encoding))
            var rest = body[...]
            repeat {
                bytes += RawClient.frame(
                    0, flags: rest.count <= 16_000 ? 1 : 0, stream: 1, [UInt8](rest.prefix(16_000)))
                rest = rest.dropFirst(16_000)
            } while !rest.isEmpty
            try await channel.send(bytes)
            try await eventually {
                client.received.frames.contains { $0.type == 1 && $0.stream == 1 && $0.flags & 1 == 1 }
            }
            #expect(!client.closed)
            let frames = client.received.frames.filter { $0.stream == 1 }
            result.messages = frames.filter { $0.type == 0 }.flatMap(\.payload)
            result.fields = client.received.frames.fields(stream: 1)
            #expect(server.server.heldBytes.requests == 0)
            try await channel.close()
        }
        return result
    }

    @Test func `a request in gzip is unpacked, and so is one without in the same encoding`() async throws {
        let message = [UInt8](repeating: 3, count: 100_000)
        let packed = try await Self.answer(to: Self.framed(gzipped(message), flag: 1), encoding: "gzip")
        #expect(packed.messages == Self.framed(message, flag: 0))
        let plain = try await Self.answer(to: Self.framed(message, flag: 0), encoding: "gzip")
        #expect(plain.messages == Self.framed(message, flag: 0))
    }

    @Test func `messages of a stream are unpacked one by one, and their window comes back`() async throws {
        let messages = (1...60).map { [UInt8](repeating: UInt8($0), count: $0 * 1000) }
        let body = messages.flatMap { Self.framed(gzipped($0), flag: 1) }
        let answer = try await Self.answer(to: body, encoding: "gzip", path: "/test.Echo/chat")
        #expect(answer.messages == messages.flatMap { Self.framed($0, flag: 0) })
        #expect(answer.fields["grpc-status"] == "0")
    }

    @Test(arguments: [
        ("gzip", [UInt8](repeating: 9, count: 100), UInt8(1), "13"),  // not gzip: INTERNAL
        (nil, gzipped([1, 2, 3]), 1, "13"),  // no encoding was named: INTERNAL
        ("identity", gzipped([1, 2, 3]), 1, "13"),
        ("deflate", [1, 2, 3], 0, "12"),  // UNIMPLEMENTED, with what is accepted
        ("gzip", gzipped([UInt8](repeating: 0, count: 5 << 20)), 1, "8"),  // RESOURCE_EXHAUSTED
    ])
    func `what cannot be unpacked is refused`(
        encoding: String?, message: [UInt8], flag: UInt8, status: String
    ) async throws {
        let answer = try await Self.answer(to: Self.framed(message, flag: flag), encoding: encoding)
        #expect(answer.messages.isEmpty)
        #expect(answer.fields["grpc-status"] == status)
        #expect(answer.fields["grpc-accept-encoding"] == (status == "12" ? "identity,gzip" : nil))
    }

    @Test func `bombs of one connection are bounded together`() async throws {
        var options = TransportOptions.server
        options.maximumBufferedBytes = 8 << 20
        try await EchoServer.run(options: options) { server in
            let good = try await server.connect()
            let (client, channel) = try await RawClient.connect(to: server)
            let bomb = Self.framed(gzipped([UInt8](repeating: 0, count: 4 << 20)), flag: 1)
            var bytes = RawClient.preface + RawClient.settings
            for number in 0..<50 {
                let stream = UInt32(number * 2 + 1)
                bytes += RawClient.frame(
                    1, flags: 4, stream: stream, Self.request("/test.Echo/hang", encoding: "gzip"))
                bytes += RawClient.frame(0, stream: stream, bomb)
            }
            try await channel.send(bytes)
            // Two fit; every one after that is refused.
            try await eventually { client.received.frames.contains { $0.type == 1 && $0.stream == 99 } }
            #expect(server.server.heldBytes.requests <= 8 << 20)
            #expect(try await good.call(.unary, [1]).get().message == [1])
            try await channel.close()
            try await eventually { server.server.heldBytes.requests == 0 }
        }
    }
}
