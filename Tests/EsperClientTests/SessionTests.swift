import EsperClient
import EsperProtocol
import EsperTypes
import GRPCTransport
import NIOCore
import SwiftProtobuf
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)), .serialized)
struct SessionTests {
    /// A node whose session lives as long as `alive` says, call by call.
    private static func script(
        ttl: UInt64 = 300, alive: @escaping @Sendable (Int) -> Bool?
    ) -> ScriptedService.Script {
        { method, request, number in
            switch method {
            case .grantSession:
                .reply(ProtoGrantResponse.with { ($0.sessionID, $0.ttlMs) = (9, ttl) })
            case .keepAlive:
                alive(number).map { alive in
                    .reply(
                        ProtoKeepAliveResponse.with {
                            $0.sessions = [.with { ($0.sessionID, $0.alive, $0.ttlMs) = (9, alive, ttl) }]
                        })
                } ?? .silence
            case .revokeSession: .reply(ProtoRevokeResponse())
            case .acquireLock:
                .reply(ProtoAcquireResponse.with { ($0.granted, $0.fencingToken) = (true, 42) })
            case .releaseLock: .reply(ProtoReleaseResponse.with { $0.released = true })
            default: .silence
            }
        }
    }

    @Test func `a session is kept alive until it is closed`() async throws {
        try await ScriptedServer.run(Self.script { _ in true }) { server, client in
            let session = try await client.openSession(ttl: .milliseconds(300))
            #expect(session.id == SessionID(9))
            try await eventually { server.service.requests(.keepAlive).count >= 4 }
            #expect(session.end == nil)
            try await session.close()
            #expect(session.end == .closed)
            #expect(server.service.requests(.revokeSession).count == 1)
            #expect(await session.waitUntilEnded() == .closed)
        }
    }

    @Test func `a session the cluster has ended is over`() async throws {
        try await ScriptedServer.run(Self.script { $0 < 2 }) { _, client in
            let session = try await client.openSession(ttl: .milliseconds(300))
            #expect(await session.waitUntilEnded() == .expired)
        }
    }

    @Test func `a session nobody confirms is over when its time is`() async throws {
        try await ScriptedServer.run(Self.script { _ in nil }) { _, client in
            let opened = NIODeadline.now()
            let session = try await client.openSession(ttl: .milliseconds(300))
            #expect(await session.waitUntilEnded() == .unconfirmed)
            #expect(NIODeadline.now() - opened >= .milliseconds(300))
        }
    }

    @Test func `work under a lock sees its token, and the session ends after it`() async throws {
        try await ScriptedServer.run(Self.script { _ in true }) { server, client in
            let token = try await client.withLock("train", ttl: .seconds(1), wait: .zero) { $0.token }
            #expect(token == FencingToken(42))
            #expect(server.service.requests(.revokeSession).count == 1)
            let request = try ProtoAcquireRequest(serializedBytes: server.service.requests(.acquireLock)[0])
            #expect(request.name == "train" && request.sessionID == 9)
        }
    }

    @Test func `work is cancelled when its session ends`() async throws {
        try await ScriptedServer.run(Self.script { _ in false }) { _, client in
            let losses = Mutex(0)
            let error = await #expect(throws: EsperError.self) {
                try await client.withLock(
                    "train", ttl: .milliseconds(300), wait: .zero, onLoss: { losses.withLock { $0 += 1 } }
                ) { _ in
                    // Waits for its cancellation, which the end of the session brings.
                    try await eventually { false }
                }
            }
            #expect(error?.code == EsperError.Code.sessionEnded)
            #expect(losses.withLock { $0 } == 1)
        }
    }

    @Test func `request ids of one client stay within the window`() {
        var identities = RequestIdentities()
        #expect(identities.take() == nil)
        identities.add(5)
        var taken: [RequestIdentities.RequestID] = []
        while let id = identities.take() { taken.append(id) }
        #expect(taken.count == Int(RequestIdentities.window))
        // The oldest holds the window back, whatever else is finished.
        for id in taken.dropFirst() { identities.finish(id) }
        #expect(identities.take() == nil)
        identities.finish(taken[0])
        #expect(identities.take()?.acknowledgedThrough == RequestIdentities.window)
        identities.add(6)
        identities.forget(client: 5)
        #expect(identities.take()?.client == 6)
    }
}
