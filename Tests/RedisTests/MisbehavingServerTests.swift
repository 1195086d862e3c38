import NIOCore
import Redis
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct MisbehavingServerTests {
    /// What three requests come to that are answered together so.
    private func outcomes(
        _ answer: [UInt8], closes: Bool = false, limit: Duration = ample,
        _ change: (inout RedisSettings) -> Void = { _ in }
    ) async throws -> [RedisError?] {
        let server = try await ScriptedServer(answer: answer, closes: closes)
        var settings = RedisSettings(endpoint: .init(host: "127.0.0.1", port: server.port))
        settings.maximumConnections = 1
        change(&settings)
        let outcomes = try await withClient(settings) { client in
            await withTaskGroup(of: RedisError?.self) { group in
                for _ in 0..<3 {
                    group.addTask {
                        await failure { () throws(RedisError) in try await client.send(.ping, within: limit) }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
        }
        try await server.close()
        return outcomes
    }

    @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "\u{16}\u{3}\u{1}", "*99999999\r\n", "+PONG\r\n?"])
    func `bytes that are no answer end the connection and all that is on it`(answer: String) async throws {
        let errors = try await outcomes(bytes(answer))
        #expect(errors.contains { $0?.kind == .malformedAnswer })
        #expect(errors.allSatisfy { $0 == nil || $0?.kind == .malformedAnswer })
    }

    @Test func `half an answer before the end is no answer`() async throws {
        let errors = try await outcomes(bytes("$10\r\nhalf"), closes: true)
        #expect(errors.allSatisfy { $0?.kind == .connectionLost })
    }

    @Test func `half an answer and silence is no answer`() async throws {
        let errors = try await outcomes(bytes("$10\r\nhalf"), limit: .milliseconds(50)) {
            $0.patience = .milliseconds(1)
        }
        // One whose turn comes after the connection was given up finds none.
        #expect(errors.allSatisfy { $0 != nil })
        #expect(errors.contains { $0?.kind == .deadlineExceeded })
    }

    @Test func `an answer that is too large is not read to its end`() async throws {
        let errors = try await outcomes(bytes("$100000000\r\n") + [UInt8](repeating: 1, count: 200_000)) {
            $0.maximumReplyBytes = 100_000
        }
        #expect(errors.contains { $0?.message.contains("100000 bytes") == true })
    }

    @Test func `more answers than questions end the connection`() async throws {
        let errors = try await outcomes(bytes(String(repeating: "+PONG\r\n", count: 5)))
        // The answers that had a question are answers.
        #expect(errors.allSatisfy { $0 == nil || $0?.kind == .malformedAnswer })
        #expect(errors.contains { $0 == nil })
    }

    @Test func `an answer that is on its way is no silence`() async throws {
        // Three seconds from the first byte to the last.
        let server = try await ScriptedServer(
            answer: bytes("$15\r\nfifteen letters\r\n:1\r\n"), interval: .milliseconds(110))
        var settings = RedisSettings(endpoint: .init(host: "127.0.0.1", port: server.port))
        settings.maximumConnections = 1
        settings.patience = .seconds(2)
        let outcome = try await withClient(settings) { client in
            _ = await failure { () throws(RedisError) in try await client.send(.ping, within: .milliseconds(500)) }
            return await failure { () throws(RedisError) in try await client.send(.ping, within: ample) }
        }
        #expect(outcome == nil)
        try await server.close()
    }

    @Test func `an answer that is on its way for too long ends the connection`() async throws {
        let server = try await ScriptedServer(
            answer: bytes("$1000\r\n") + [UInt8](repeating: 1, count: 1000), interval: .milliseconds(50))
        var settings = RedisSettings(endpoint: .init(host: "127.0.0.1", port: server.port))
        settings.patience = .seconds(60)
        settings.answerLimit = .milliseconds(300)
        try await withClient(settings) { client in
            try await until("the connection to end") {
                _ = await failure { () throws(RedisError) in try await client.send(.ping, within: .milliseconds(50)) }
                return server.ended > 0
            }
        }
        try await server.close()
    }
}
