import GRPCTransport
import NIOCore
import NIOPosix
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)), .serialized)
struct UnaryCallTests {
    @Test(arguments: [0, 1, 5, 256, 16_384, 70_000, 3_000_000])
    func `a message of any size comes back`(bytes: Int) async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let message = (0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let reply = try await connection.call(.unary, message).get()
            #expect(reply.message == message)
            #expect(try await connection.call(.later, message).get().message == message)
        }
    }

    @Test func `calls submitted together arrive together`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let count = 512
            let done = connection.eventLoop.makePromise(of: Void.self)
            let left = Mutex(count)
            connection.start(
                (0..<count).map { number in
                    let call = ClientCall(
                        path: EchoService.Method.unary.path, message: [UInt8(truncatingIfNeeded: number)],
                        timeout: .seconds(10))
                    return (
                        call,
                        { result in
                            #expect((try? result.get().message) == [UInt8(truncatingIfNeeded: number)])
                            let isLast = left.withLock { left in
                                left -= 1
                                return left == 0
                            }
                            if isLast { done.succeed() }
                        }
                    )
                })
            try await done.futureResult.get()
            let batches = server.service.seen.batches
            #expect(batches.reduce(0, +) == count)
            #expect(batches.count < count / 4, "\(batches.count) batches for \(count) calls")
        }
    }

    @Test func `a failure carries its code, its message and its trailers`() async throws {
        try await EchoServer.run { server in
            let failure = await #expect(throws: CallFailure.self) {
                try await server.connect().call(.fail).get()
            }
            #expect(failure?.status == GRPCStatus(.failedPrecondition, "100 % né\n"))
            #expect(failure?.metadata.bytes("esper-error-bin") == [0, 1, 2, 255])
            #expect(failure?.metadata["reason"] == "on purpose")
            #expect(failure?.mayHaveArrived == true)
        }
    }

    @Test func `metadata arrives, bytes too`() async throws {
        try await EchoServer.run { server in
            var metadata = Metadata()
            metadata.add("tenant", "blue")
            metadata.add("trace-bin", bytes: [1, 2, 3])
            let reply = try await server.connect().call(.describe, metadata: metadata).get()
            #expect(String(decoding: reply.message, as: UTF8.self) == "tenant=blue\ntrace-bin=AQID\ndeadline=some")
        }
    }

    @Test func `a method nobody serves is unimplemented`() async throws {
        try await EchoServer.run { server in
            let failure = await #expect(throws: CallFailure.self) {
                try await server.connect().unary(ClientCall(path: "/test.Echo/Nope", message: [], timeout: .seconds(5)))
                    .get()
            }
            #expect(failure?.status.code == .unimplemented)
        }
    }

    @Test func `both ends notice a deadline`() async throws {
        try await EchoServer.run { server in
            let failure = await #expect(throws: CallFailure.self) {
                try await server.connect().call(.hang, timeout: .milliseconds(50)).get()
            }
            #expect(failure?.status.code == .deadlineExceeded)
            #expect(failure?.mayHaveArrived == true)
            // Whichever end was first: the service is told in either case.
            try await eventually { server.service.seen.ended.count == 1 }
        }
    }

    @Test func `a cancelled task resets its call`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let waiting = Task { await connection.call(.hang) }
            try await eventually { server.service.seen.batches == [1] }
            waiting.cancel()
            let failure = await #expect(throws: CallFailure.self) { try await waiting.value.get() }
            #expect(failure?.status.code == .cancelled)
            try await eventually { server.service.seen.ended == [.cancelled] }
        }
    }

    @Test func `a message above the limit is refused`() async throws {
        var options = TransportOptions.server
        options.maximumMessageBytes = 1000
        try await EchoServer.run(options: options) { server in
            let connection = try await server.connect()
            let failure = await #expect(throws: CallFailure.self) {
                try await connection.call(.unary, [UInt8](repeating: 1, count: 200_000)).get()
            }
            #expect(failure?.status.code == .resourceExhausted)
            #expect(try await connection.call(.unary, [UInt8](repeating: 1, count: 1000)).get().message.count == 1000)
        }
    }

    @Test func `metadata above the limit is refused`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            var metadata = Metadata()
            for number in 0..<20 { metadata.add("x-\(number)", String(repeating: "a", count: 1000)) }
            let failure = await #expect(throws: CallFailure.self) {
                try await connection.call(.unary, metadata: metadata).get()
            }
            #expect(failure?.status.code == .resourceExhausted)
            #expect(try await connection.call(.unary, [9]).get().message == [9])
        }
    }

    @Test func `a lost connection fails what was sent as perhaps arrived`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let waiting = Task { await connection.call(.hang) }
            try await eventually { server.service.seen.batches == [1] }
            connection.close()
            let failure = await #expect(throws: CallFailure.self) { try await waiting.value.get() }
            #expect(failure?.status.code == .unavailable)
            #expect(failure?.mayHaveArrived == true)
            let late = await #expect(throws: CallFailure.self) { try await connection.call(.unary).get() }
            #expect(late?.mayHaveArrived == false)
            try await eventually { server.service.seen.ended == [.connectionLost] }
        }
    }

    @Test func `health is answered without the service`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let check = ClientCall(path: "/grpc.health.v1.Health/Check", message: [], timeout: .seconds(5))
            #expect(try await connection.unary(check).get().message == [0x08, 1])
            server.server.health.set(.notServing)
            #expect(try await connection.unary(check).get().message == [0x08, 2])
            let other = ClientCall(
                path: "/grpc.health.v1.Health/Check", message: [0x0a, 1, 0x78], timeout: .seconds(5))
            let failure = await #expect(throws: CallFailure.self) { try await connection.unary(other).get() }
            #expect(failure?.status.code == .notFound)
        }
    }
}

/// Asks until it holds, a turn of an event loop between two askings; the suite's time limit ends what never does.
func eventually(_ condition: () async throws -> Bool) async throws {
    let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
    while try await !condition() {
        try Task.checkCancellation()
        try await eventLoop.scheduleTask(in: .milliseconds(2)) {}.futureResult.get()
    }
}
