import EsperClient
import EsperProtocol
import EsperTypes
import Foundation
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

    @Test func `work that is done keeps its result when its session cannot be ended`() async throws {
        let session = Self.script { _ in true }
        let script: ScriptedService.Script = { method, request, number in
            guard method == .revokeSession else { return session(method, request, number) }
            return .refuse("internal", .unknown, retryable: false)
        }
        try await ScriptedServer.run(script) { server, client in
            let token = try await client.withLock("train", ttl: .seconds(1), wait: .zero) { $0.token }
            #expect(token == FencingToken(42))
            #expect(server.service.requests(.revokeSession).count == 1)
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

    @Test func `a cancelled task gives its lock back at once, when its work has ended`() async throws {
        try await ScriptedServer.run(Self.script(ttl: 60_000) { _ in true }) { server, client in
            let order = Mutex<[String]>([])
            let task = Task {
                try await client.withLock("train", ttl: .seconds(60), wait: .zero) { _ in
                    order.withLock { $0.append("begun") }
                    defer {
                        let revoked = server.service.requests(.revokeSession).count
                        order.withLock { $0.append("ended after \(revoked) revocations") }
                    }
                    // Waits for its cancellation.
                    try await eventually { false }
                }
            }
            try await eventually { order.withLock { !$0.isEmpty } }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(order.withLock { $0 } == ["begun", "ended after 0 revocations"])
            #expect(server.service.requests(.revokeSession).count == 1)
        }
    }

    @Test func `a task that is cancelled while it waits for its lock leaves no session behind`() async throws {
        let script: ScriptedService.Script = { method, _, _ in
            switch method {
            case .grantSession: .reply(ProtoGrantResponse.with { ($0.sessionID, $0.ttlMs) = (9, 60_000) })
            case .revokeSession: .reply(ProtoRevokeResponse())
            default: .silence
            }
        }
        try await ScriptedServer.run(script) { server, client in
            let task = Task { try await client.withLock("train", ttl: .seconds(60), wait: .seconds(60)) { _ in } }
            try await eventually { server.service.requests(.acquireLock).count == 1 }
            task.cancel()
            let error = await #expect(throws: EsperError.self) { try await task.value }
            #expect(error?.code == EsperError.Code.cancelled)
            #expect(server.service.requests(.revokeSession).count == 1)
        }
    }

    @Test func `work is cancelled when its lock is given back under it`() async throws {
        let session = Self.script(ttl: 60_000) { _ in true }
        let script: ScriptedService.Script = { method, request, number in
            guard method == .watch else { return session(method, request, number) }
            let deletion = ProtoWatchResponse.with {
                $0.revision = 50
                $0.events = [.with { ($0.kind, $0.kv.modRevision) = (.delete, 50) }]
            }
            return .messages([deletion], then: .open)
        }
        try await ScriptedServer.run(script) { server, client in
            let losses = Mutex(0)
            let error = await #expect(throws: EsperError.self) {
                try await client.withLock(
                    "a/b", ttl: .seconds(60), wait: .zero, onLoss: { losses.withLock { $0 += 1 } }
                ) { _ in try await eventually { false } }
            }
            #expect(error?.code == EsperError.Code.lockLost)
            #expect(losses.withLock { $0 } == 1)
            let watched = try ProtoWatchRequest(serializedBytes: server.service.requests(.watch)[0])
            #expect(watched.range.key == Data("_lock/a%2Fb/0000000000000009".utf8))
            #expect(watched.fromRevision == 43)
            #expect(server.service.requests(.revokeSession).count == 1)
        }
    }

    @Test func `lists are asked for page by page`() async throws {
        let script: ScriptedService.Script = { method, _, number in
            switch method {
            case .listSessions:
                .reply(
                    ProtoListSessionsResponse.with {
                        $0.sessions = [.with { ($0.sessionID, $0.label) = (UInt64(number), "s\(number)") }]
                        $0.nextPageToken = number < 3 ? "behind \(number)" : ""
                    })
            case .listLocks:
                .reply(
                    ProtoListLocksResponse.with {
                        $0.locks = [.with { $0.name = "l\(number)" }]
                        $0.nextPageToken = number < 2 ? "behind \(number)" : ""
                    })
            default: .silence
            }
        }
        try await ScriptedServer.run(script) { server, client in
            #expect(try await client.sessions().map(\.label) == ["s1", "s2", "s3"])
            let asked = try server.service.requests(.listSessions).map {
                try ProtoListSessionsRequest(serializedBytes: $0).pageToken
            }
            #expect(asked == ["", "behind 1", "behind 2"])
            #expect(try await client.locks(prefix: "l").map(\.name) == ["l1", "l2"])
            let locks = try server.service.requests(.listLocks).map { try ProtoListLocksRequest(serializedBytes: $0) }
            #expect(locks.map(\.pageToken) == ["", "behind 1"] && locks.allSatisfy { $0.prefix == "l" })
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
