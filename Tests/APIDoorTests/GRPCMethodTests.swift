import APIDoor
import EsperProtocol
import Foundation
import GRPCTransport
import NIOCore
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// Every method of the gRPC API: a call that is answered, and one that is refused, each in full.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct GRPCMethodTests {
    /// What the calls find: two sessions, of which the first holds a lock and leads an election.
    struct Scene {
        var holder: UInt64 = 0
        var other: UInt64 = 0
        var doomed: UInt64 = 0
        var heldToken: UInt64 = 0
        var leaderToken: UInt64 = 0
    }

    struct Refused {
        var request: [UInt8]
        var status: GRPCCode
        var word: String
        /// In the message.
        var says: String

        init(_ request: some Message, _ status: GRPCCode, _ word: String, _ says: String) {
            self.init((try? request.serializedBytes()) ?? [], status, word, says)
        }

        init(_ request: [UInt8], _ status: GRPCCode, _ word: String, _ says: String) {
            (self.request, self.status, self.word, self.says) = (request, status, word, says)
        }

        /// For methods that refuse nothing else: a field whose length is cut off.
        static let malformed = Refused([0x0a, 0x05], .invalidArgument, "invalid_argument", "not a valid message")
    }

    /// A method's good call with what its answer must be, and its bad one.
    struct Row {
        /// Nil when it takes several nodes: those calls are tried with real clusters.
        var request: [UInt8]?
        var check: @Sendable ([UInt8]) throws -> Void
        var refused: Refused

        init<Answer: Message>(
            _ request: some Message, _ refused: Refused, _ check: @escaping @Sendable (Answer) throws -> Void
        ) throws {
            self.request = try request.serializedBytes()
            self.refused = refused
            self.check = { bytes in try check(Answer(serializedBytes: bytes)) }
        }

        init(refused: Refused) {
            self.refused = refused
            check = { _ in }
        }
    }

    private func call(
        _ connection: ClientConnection, _ method: ProtoMethod, _ request: [UInt8]
    ) async -> Result<[UInt8], CallFailure> {
        let call = ClientCall(path: method.path, message: request, timeout: .seconds(20))
        guard method.isServerStreaming else { return await connection.unary(call).map(\.message) }
        // The first message, or what the stream ends with instead.
        return await withCheckedContinuation { continuation in
            let waiting = Mutex<CheckedContinuation<Result<[UInt8], CallFailure>, Never>?>(continuation)
            @Sendable func answer(_ result: Result<[UInt8], CallFailure>) {
                waiting.withLock { waiting in
                    defer { waiting = nil }
                    return waiting
                }?.resume(returning: result)
            }
            _ = connection.open(call, endsWithFirstMessage: true) { event in
                switch event {
                case .began: break
                case .message(let message): answer(.success(message))
                case .ended(.failure(let failure)): answer(.failure(failure))
                case .ended(.success): answer(.success([]))
                }
            }
        }
    }

    private func get<Answer: Message>(
        _ connection: ClientConnection, _ method: ProtoMethod, _ request: some Message
    ) async throws -> Answer {
        try Answer(serializedBytes: try await call(connection, method, request.serializedBytes()).get())
    }

    private func scene(_ connection: ClientConnection) async throws -> Scene {
        var scene = Scene()
        func session(_ label: String) async throws -> UInt64 {
            let request = ProtoGrantRequest.with { ($0.ttlMs, $0.label) = (600_000, label) }
            let granted: ProtoGrantResponse = try await get(connection, .grantSession, request)
            return granted.sessionID
        }
        (scene.holder, scene.other, scene.doomed) = (
            try await session("holder"), try await session("other"), try await session("doomed")
        )
        let acquire = ProtoAcquireRequest.with { ($0.name, $0.sessionID) = ("held", scene.holder) }
        let held: ProtoAcquireResponse = try await get(connection, .acquireLock, acquire)
        scene.heldToken = held.fencingToken
        let campaign = ProtoCampaignRequest.with {
            ($0.name, $0.sessionID, $0.value) = ("led", scene.holder, Data("me".utf8))
        }
        let led: ProtoCampaignResponse = try await get(connection, .campaign, campaign)
        scene.leaderToken = led.leadership.fencingToken
        return scene
    }

    @Test func `every method answers a good call and refuses a bad one with a reason`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connection = try await door.grpc()
            defer { connection.close() }
            let scene = try await scene(connection)
            for method in ProtoMethod.allCases {
                let row = try Self.row(method, scene)
                if let request = row.request {
                    switch await call(connection, method, request) {
                    case .success(let message): try row.check(message)
                    case .failure(let failure): Issue.record("\(method.path): \(failure)")
                    }
                }
                guard case .failure(let failure) = await call(connection, method, row.refused.request) else {
                    Issue.record("\(method.path) answered what it should have refused")
                    continue
                }
                #expect(failure.status.code == row.refused.status, "\(method.path): \(failure)")
                let bytes = try #require(failure.metadata.bytes("esper-error-bin"), "\(method.path): \(failure)")
                let detail = try ProtoErrorDetail(serializedBytes: bytes)
                #expect(detail.code == row.refused.word, "\(method.path)")
                #expect(detail.outcome == .notCommitted, "\(method.path)")
                #expect(!detail.retryable, "\(method.path)")
                #expect(detail.message.contains(row.refused.says), "\(method.path): \(detail.message)")
            }
        }
    }

    @Test func `whoever is not granted is told who is, and never a token of its own`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connection = try await door.grpc()
            defer { connection.close() }
            let scene = try await scene(connection)
            for wait: UInt64 in [0, 1, 1000] {
                let acquired: ProtoAcquireResponse = try await get(
                    connection, .acquireLock,
                    ProtoAcquireRequest.with { ($0.name, $0.sessionID, $0.waitMs) = ("held", scene.other, wait) })
                #expect(!acquired.granted && acquired.fencingToken == 0 && acquired.commit.outcome == .notCommitted)
                #expect(acquired.holderSessionID == scene.holder)
                let campaigned: ProtoCampaignResponse = try await get(
                    connection, .campaign,
                    ProtoCampaignRequest.with { ($0.name, $0.sessionID, $0.waitMs) = ("led", scene.other, wait) })
                #expect(!campaigned.elected && campaigned.commit.outcome == .notCommitted)
                #expect(campaigned.leadership.sessionID == scene.holder)
                #expect(campaigned.leadership.fencingToken == scene.leaderToken)
                #expect(campaigned.leadership.value == Data("me".utf8))
            }
        }
    }

    @Test func `lists come in pages that leave nothing out and tell nothing twice`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connection = try await door.grpc()
            defer { connection.close() }
            let session = try await scene(connection).holder
            for name in ["a", "a/b", "a%2Fb", "b", "ab"] {
                let request = ProtoAcquireRequest.with { ($0.name, $0.sessionID) = (name, session) }
                let acquired: ProtoAcquireResponse = try await get(connection, .acquireLock, request)
                #expect(acquired.granted)
            }
            var names: [String] = []
            var request = ProtoListLocksRequest.with { ($0.prefix, $0.limit) = ("a", 1) }
            repeat {
                let page: ProtoListLocksResponse = try await get(connection, .listLocks, request)
                #expect(page.locks.count == 1)
                names += page.locks.map(\.name)
                request.pageToken = page.nextPageToken
            } while !request.pageToken.isEmpty
            #expect(names.sorted() == ["a", "a%2Fb", "a/b", "ab"])
            var labels: [String] = []
            var sessions = ProtoListSessionsRequest.with { $0.limit = 2 }
            repeat {
                let page: ProtoListSessionsResponse = try await get(connection, .listSessions, sessions)
                labels += page.sessions.map(\.label)
                sessions.pageToken = page.nextPageToken
            } while !sessions.pageToken.isEmpty
            #expect(labels == ["holder", "other", "doomed"])
        }
    }
}
