import GRPCTransport
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(1)), .serialized)
struct HostileClientTests {
    /// What a client may say after the TLS handshake that ends the connection.
    enum Abuse: String, CaseIterable, CustomTestStringConvertible {
        case plainHTTP, randomBytes, oversizedFrame, dataWithoutStream, headerBomb, continuationFlood, rapidReset
        case pingFlood, settingsFlood, priorityFlood, emptyDataFlood, paddingFlood
        case provokedReset, manyStreams, manyStreamsKnowingly, manySettings

        var testDescription: String { rawValue }

        /// The error codes of RFC 9113 section 7 that the GOAWAY may carry.
        var goodbyes: Set<UInt8> {
            switch self {
            case .plainHTTP: [1]
            case .randomBytes: [1, 6]
            case .oversizedFrame: [6]
            case .dataWithoutStream: [1]
            case .manyStreamsKnowingly: [1, 11]
            case .headerBomb, .continuationFlood, .rapidReset, .pingFlood, .settingsFlood, .priorityFlood,
                .emptyDataFlood,
                .paddingFlood, .provokedReset, .manyStreams, .manySettings:
                [11]
            }
        }

        var bytes: [UInt8] {
            let start = RawClient.preface + RawClient.settings
            switch self {
            case .plainHTTP: return [UInt8]("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
            case .randomBytes:
                var generator = SplitMix(state: 7)
                return start + (0..<4096).map { _ in UInt8.random(in: 0...255, using: &generator) }
            case .oversizedFrame:
                return start + RawClient.frame(0, flags: 0, stream: 1, announcing: 0xff_ffff, [1, 2, 3])
            case .dataWithoutStream: return start + RawClient.frame(0, stream: 5, [0, 0, 0, 0, 0])
            case .headerBomb:
                let field = RawClient.fields([("x-a", String(repeating: "a", count: 100))])
                return start
                    + (0..<2000).flatMap { number in
                        RawClient.frame(
                            number == 0 ? 1 : 9, stream: 1,
                            number == 0 ? RawClient.request("/test.Echo/unary") : field)
                    }
            case .continuationFlood:
                return start + RawClient.frame(1, stream: 1, RawClient.request("/test.Echo/unary"))
                    + (0..<5000).flatMap { _ in RawClient.frame(9, stream: 1) }
            case .rapidReset:
                return start
                    + (0..<4000).flatMap { number -> [UInt8] in
                        let stream = UInt32(number * 2 + 1)
                        return RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/hang"))
                            + RawClient.frame(3, stream: stream, [0, 0, 0, 8])
                    }
            case .pingFlood:
                return start + (0..<5000).flatMap { _ in RawClient.frame(6, [UInt8](repeating: 0, count: 8)) }
            case .settingsFlood: return start + (0..<5000).flatMap { _ in RawClient.frame(4) }
            case .priorityFlood:
                return start + (0..<5000).flatMap { _ in RawClient.frame(2, stream: 1, [0, 0, 0, 0, 1]) }
            case .emptyDataFlood:
                return start + RawClient.frame(1, flags: 4, stream: 1, RawClient.request("/test.Echo/unary"))
                    + (0..<5000).flatMap { _ in RawClient.frame(0, stream: 1) }
            case .paddingFlood:
                return start + RawClient.frame(1, flags: 4, stream: 1, RawClient.request("/test.Echo/unary"))
                    + (0..<5000).flatMap { _ in RawClient.frame(0, flags: 8, stream: 1, [7, 0, 0, 0, 0, 0, 0, 0]) }
            case .provokedReset:
                // The server resets each stream for a window that overflows, while its call goes on behind it.
                return start
                    + (0..<4000).flatMap { number -> [UInt8] in
                        let stream = UInt32(number * 2 + 1)
                        return RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/hang"))
                            + RawClient.frame(8, stream: stream, [0x7f, 0xff, 0xff, 0xff])
                    }
            case .manyStreams: return start + Self.manyStreams(100_000)
            case .manyStreamsKnowingly: return start + RawClient.frame(4, flags: 1) + Self.manyStreams(100_000)
            case .manySettings:
                return start + RawClient.frame(4, (0..<1000).flatMap { _ in [0, 4, 0, 1, 0, 0] as [UInt8] })
            }
        }

        private static func manyStreams(_ count: Int) -> [UInt8] {
            (0..<count).flatMap {
                RawClient.frame(1, flags: 4, stream: UInt32($0 * 2 + 1), RawClient.request("/test.Echo/hang"))
            }
        }
    }

    @Test(arguments: Abuse.allCases)
    func `an abusive connection is closed, and others do not notice`(abuse: Abuse) async throws {
        try await EchoServer.run { server in
            let good = try await server.connect()
            let (client, channel) = try await RawClient.connect(to: server)
            try await channel.send(abuse.bytes)
            #expect(try await good.call(.unary, [1, 2]).get().message == [1, 2])
            try await eventually { client.closed }
            let goodbye = client.received.frames.last { $0.type == 7 }
            let code = try #require(goodbye, "no GOAWAY").payload[7]
            #expect(abuse.goodbyes.contains(code), "code \(code)")
            #expect(try await good.call(.unary, [1, 2]).get().message == [1, 2])
            try await eventually { server.server.connectionCount == 1 }
            try await eventually { server.server.heldBytes == HeldBytes() }
        }
    }

    @Test(arguments: [("GET", "application/grpc"), ("POST", "text/plain")])
    func `what is not gRPC gets an HTTP status and costs no connection`(method: String, type: String) async throws {
        try await EchoServer.run { server in
            let (client, channel) = try await RawClient.connect(to: server)
            let request = RawClient.request("/test.Echo/unary", method: method, type: type)
            try await channel.send(
                RawClient.preface + RawClient.settings + RawClient.frame(1, flags: 5, stream: 1, request))
            // HEADERS with END_STREAM and END_HEADERS on stream 1.
            try await eventually { client.received.containsHeaders(stream: 1) }
            #expect(!client.closed)
            #expect(server.service.seen.batches.isEmpty)
            try await channel.close()
        }
    }

    @Test(arguments: [[UInt8]](arrayLiteral: [1, 0, 0, 0, 1, 7], [9, 0, 0, 0, 0], [0, 0xff, 0xff, 0xff, 0xff]))
    func `a malformed message is refused and costs no connection`(message: [UInt8]) async throws {
        try await EchoServer.run { server in
            let (client, channel) = try await RawClient.connect(to: server)
            try await channel.send(
                RawClient.preface + RawClient.settings
                    + RawClient.frame(1, flags: 4, stream: 1, RawClient.request("/test.Echo/unary"))
                    + RawClient.frame(0, flags: 1, stream: 1, message))
            try await eventually { client.received.containsHeaders(stream: 1) }
            #expect(!client.closed)
            #expect(server.service.seen.batches.isEmpty)
            try await channel.close()
        }
    }

    @Test func `unfinished requests of one connection are bounded together`() async throws {
        var options = TransportOptions.server
        options.maximumBufferedBytes = 100_000
        try await EchoServer.run(options: options) { server in
            let (client, channel) = try await RawClient.connect(to: server)
            try await channel.send(RawClient.preface + RawClient.settings)
            for number in 0..<10 {
                let stream = UInt32(number * 2 + 1)
                try await channel.send(
                    RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/unary"))
                        + RawClient.frame(0, stream: stream, [0, 0, 0x10, 0, 0] + [UInt8](repeating: 1, count: 16_000)))
            }
            // Six of 16,000 bytes fit; the seventh is refused, and the first six go on waiting.
            try await eventually { client.received.containsHeaders(stream: 13) }
            #expect(!client.received.containsHeaders(stream: 1))
            try await channel.close()
        }
    }

    @Test func `whole requests whose streams are left open count too`() async throws {
        var options = TransportOptions.server
        options.maximumBufferedBytes = 100_000
        try await EchoServer.run(options: options) { server in
            let (client, channel) = try await RawClient.connect(to: server)
            try await channel.send(RawClient.preface + RawClient.settings)
            for number in 0..<10 {
                let stream = UInt32(number * 2 + 1)
                try await channel.send(
                    RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/unary"))
                        + RawClient.frame(
                            0, stream: stream, [0, 0, 0, 0x3e, 0x80] + [UInt8](repeating: 1, count: 16_000)))
            }
            try await eventually { client.received.containsHeaders(stream: 13) }
            #expect(!client.received.containsHeaders(stream: 1))
            #expect(server.server.heldBytes.requests <= 100_000)
            try await channel.close()
            try await eventually { server.server.heldBytes.requests == 0 }
        }
    }

    /// Windows of nothing, opened a byte at a time: answers wait, bounded, and cost others nothing.
    @Test func `tiny windows leave answers lying, and only so many`() async throws {
        var options = TransportOptions.server
        options.maximumAnswerBytes = 8 << 20
        try await EchoServer.run(options: options) { server in
            let good = try await server.connect()
            let (client, channel) = try await RawClient.connect(to: server)
            // SETTINGS_INITIAL_WINDOW_SIZE 0.
            try await channel.send(RawClient.preface + RawClient.frame(4, [0, 4, 0, 0, 0, 0]))
            let message: [UInt8] = [0, 0, 0, 0x10, 0] + [UInt8](repeating: 1, count: 4096)
            for number in 0..<1000 {
                let stream = UInt32(number * 2 + 1)
                try await channel.send(
                    RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/unary"))
                        + RawClient.frame(0, flags: 1, stream: stream, message))
            }
            try await eventually { server.server.heldBytes.answers >= 1000 * 4101 }
            for round in 0..<10 {
                try await channel.send(
                    (0..<1000).flatMap { RawClient.frame(8, stream: UInt32($0 * 2 + 1), [0, 0, 0, 1]) })
                #expect(try await good.call(.unary, [UInt8(round)]).get().message == [UInt8(round)])
            }
            try await eventually { server.server.heldBytes.answers == 1000 * 4091 }
            #expect(!client.closed)
            // Twice as many again are above the bound.
            for number in 1000..<3000 {
                let stream = UInt32(number * 2 + 1)
                try await channel.send(
                    RawClient.frame(1, flags: 4, stream: stream, RawClient.request("/test.Echo/unary"))
                        + RawClient.frame(0, flags: 1, stream: stream, message))
            }
            try await eventually { client.closed && server.server.heldBytes.answers == 0 }
            #expect(client.received.frames.contains { $0.type == 7 && $0.payload[7] == 11 })
            #expect(try await good.call(.unary, [9]).get().message == [9])
        }
    }

    @Test func `a handshake that does not go on is given up`() async throws {
        var options = TransportOptions.server
        options.handshakeTimeout = .milliseconds(200)
        try await EchoServer.run(options: options) { server in
            let idle = try await withThrowingTaskGroup(of: (any Channel).self) { group in
                for _ in 0..<100 {
                    group.addTask {
                        try await ClientBootstrap(group: server.group).connect(host: "127.0.0.1", port: server.port)
                            .get()
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let good = try await server.connect()
            #expect(try await good.call(.unary, [1]).get().message == [1])
            for channel in idle { try await channel.closeFuture.get() }
            #expect(try await good.call(.unary, [2]).get().message == [2])
        }
    }

    /// Everything at once, again and again: what the process holds does not grow with it.
    @Test func `abuse leaves no memory behind`() async throws {
        try await EchoServer.run { server in
            let good = try await server.connect()
            func round() async throws {
                for abuse in Abuse.allCases where abuse != .manyStreamsKnowingly {
                    let (client, channel) = try await RawClient.connect(to: server)
                    try await channel.send(abuse.bytes)
                    #expect(try await good.call(.unary, [1, 2]).get().message == [1, 2])
                    try await eventually { client.closed }
                }
            }
            try await round()
            try await round()
            let before = try residentBytes()
            for _ in 0..<4 { try await round() }
            let growth = try residentBytes() - before
            #expect(growth < 64 << 20, "\(growth >> 20) MiB more")
        }
    }
}

extension [UInt8] {
    /// Whether a HEADERS frame of the stream stands in these frames.
    fileprivate func containsHeaders(stream: Int) -> Bool { frames.contains { $0.type == 1 && $0.stream == stream } }
}

/// A small seeded generator, so that every run says the same nonsense.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}
