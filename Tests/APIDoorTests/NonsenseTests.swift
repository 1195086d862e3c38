import Dispatch
import EsperProtocol
import GRPCTransport
import NIOCore
import Synchronization
import TestSupport
import Testing

/// Nonsense from clients of a node whose own loop, which carries its heartbeats, does not come round at all.
@Suite(.timeLimit(.minutes(1)))
struct NonsenseTests {
    @Test func `nonsense under a client's certificate costs the loop that carries heartbeats nothing`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let stall = DispatchSemaphore(value: 0)
            let isReleased = Mutex(false)
            door.coreGroup.any().execute { stall.wait() }
            // What makes sense waits for that loop.
            async let put = {
                let answer = try await door.post("/v1/kv/put", #"{"key":"k","value":"v"}"#)
                return (answer.status, isReleased.withLock { $0 })
            }()
            // Before the wait for that put, also when something fails.
            defer { stall.signal() }
            for bytes in Garbage.http2 {
                let client = try await door.connect(try door.clientTLS(["h2"]))
                client.send(bytes)
                _ = await client.closed()
            }
            for body in Garbage.bodies {
                let client = try await door.connect(try door.clientTLS())
                client.send(
                    Array("POST /v1/kv/put HTTP/1.1\r\nHost: test\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body
                )
                #expect(try await client.answer().status == 400)
                client.close()
            }
            let connection = try await door.grpc()
            defer { connection.close() }
            for method in [ProtoMethod.put, .get, .transact, .acquireLock] {
                let answer = await connection.unary(
                    ClientCall(path: method.path, message: [0xff, 0xff, 0xff, 0x7f, 0], timeout: .seconds(30)))
                guard case .failure(let failure) = answer else {
                    Issue.record("\(method) was done")
                    continue
                }
                #expect(failure.status.code == .invalidArgument, "\(method): \(failure)")
            }
            isReleased.withLock { $0 = true }
            stall.signal()
            #expect(try await put == (200, true))
        }
    }
}
