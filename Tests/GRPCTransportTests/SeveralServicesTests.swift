import GRPCTransport
import NIOCore
import Synchronization
import Testing

/// Two services behind one port, on the same connections.
@Suite(.timeLimit(.minutes(1)), .serialized)
struct SeveralServicesTests {
    @Test func `each service gets its own calls, in batches of its own`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let count = 512
            let done = connection.eventLoop.makePromise(of: Void.self)
            let left = Mutex(count)
            connection.start(
                (0..<count).map { number in
                    let service = number % 2 == 0 ? "test.Echo" : "other.Echo"
                    let message = [UInt8](service.utf8) + [UInt8(truncatingIfNeeded: number)]
                    let call = ClientCall(
                        path: EchoService.Method.unary.path(of: service), message: message, timeout: .seconds(10))
                    return (
                        call,
                        { result in
                            #expect((try? result.get().message) == message)
                            let isLast = left.withLock { left in
                                left -= 1
                                return left == 0
                            }
                            if isLast { done.succeed() }
                        }
                    )
                })
            try await done.futureResult.get()
            for service in [server.service, server.other] {
                #expect(service.seen.batches.reduce(0, +) == count / 2)
                #expect(service.seen.batches.count < count / 8, "\(service.seen.batches.count) batches")
            }
        }
    }

    @Test func `events of a stream reach its service alone`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let recorder = StreamRecorder()
            let path = EchoService.Method.chat.path(of: "other.Echo")
            let stream = recorder.open(
                ClientCall(path: path, message: [1], timeout: .seconds(30)), single: false, on: connection)
            try await eventually { recorder.messages == [1] }
            stream.cancel()
            try await eventually { server.other.seen.ended == [.cancelled] }
            #expect(server.other.seen.opened == 1)
            #expect(server.service.seen.opened == 0)
            #expect(server.service.seen.ended == [])
            connection.close()
            // A lost connection is told to both, having served either.
            try await eventually { server.service.seen.disconnects == 1 && server.other.seen.disconnects == 1 }
        }
    }

    @Test(arguments: ["test.Echo", "other.Echo"])
    func `a refusal is made in the name of the service`(name: String) async throws {
        var options = TransportOptions.server
        options.maximumMessageBytes = 1000
        try await EchoServer.run(options: options) { server in
            let connection = try await server.connect()
            let tooLarge = await #expect(throws: CallFailure.self) {
                try await connection.call(.unary, [UInt8](repeating: 1, count: 2000), of: name).get()
            }
            #expect(tooLarge?.status.code == .resourceExhausted)
            #expect(tooLarge?.metadata["refused-by"] == name)
            let unknown = await #expect(throws: CallFailure.self) {
                try await connection.unary(ClientCall(path: "/\(name)/nope", message: [], timeout: .seconds(5))).get()
            }
            #expect(unknown?.status.code == .unimplemented)
            #expect(unknown?.metadata["refused-by"] == name)
        }
    }

    @Test func `what belongs to nobody is refused in the name of the first`() async throws {
        try await EchoServer.run { server in
            let failure = await #expect(throws: CallFailure.self) {
                try await server.connect().unary(
                    ClientCall(path: "/third.Echo/unary", message: [], timeout: .seconds(5))
                )
                .get()
            }
            #expect(failure?.status.code == .unimplemented)
            #expect(failure?.metadata["refused-by"] == "test.Echo")
        }
    }
}
