import EsperTypes
import Foundation
import NIOCore
import NIOPosix
import ObjectStore
import Synchronization
import Testing

/// Scenario: the store fails in every way that networks and servers have. An answer is the right bytes or a typed error in
/// time; what was acknowledged is there; no key comes into being twice.
@Suite(.timeLimit(.minutes(2))) struct S3FaultTests {
    typealias Fault = ScriptedS3.Fault

    private let key = ObjectKey("blob/ab/cd")!
    private let bytes = [UInt8]((0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) })

    /// What passes when the request is sent again.
    static let passing: [Fault] = [
        .answer(500, "InternalError"), .answer(503, "SlowDown"), .answer(409, "ConditionalRequestConflict"),
        .answer(400, "RequestTimeout"), .loseAnswer, .stayAway, .hangUp, .cutShort, .babble, .forgetLength,
    ]

    private func withServer(
        _ change: (inout S3Settings) -> Void = { _ in }, _ body: (ScriptedS3, S3Store) async throws -> Void
    ) async throws {
        let server = try await ScriptedS3()
        let store = try server.makeStore(change)
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(server, store))
        } catch {
            result = .failure(error)
        }
        await store.shutdown()
        await server.stop()
        try result.get()
    }

    /// A server that stays away is given up soon; one that answers is given all the time that a busy machine needs.
    private func impatience(_ fault: Fault) -> (inout S3Settings) -> Void {
        { if fault == .stayAway { $0.patience = .milliseconds(200) } }
    }

    /// Whether there were so many requests, or more when answers may have been slower than we are patient.
    private func isExpected(_ requests: Int, _ number: Int, _ fault: Fault) -> Bool {
        fault == .stayAway ? requests >= number : requests == number
    }

    @Test(arguments: passing) func `a put is made once, whatever befalls its first attempt`(fault: Fault) async throws {
        try await withServer(impatience(fault)) { server, store in
            server.fail([0: fault])
            _ = try await store.put(key, bytes, deadline: .soon)
            #expect(server.objects == ["blob/ab/cd": bytes])
            #expect(server.creations == ["blob/ab/cd": 1])
            #expect(isExpected(server.requests.count, 2, fault))
            // The connection that failed is not used again.
            server.fail([:])
            #expect(try await store.put(key, [1], deadline: .soon) == .alreadyThere)
            #expect(server.objects == ["blob/ab/cd": bytes])
        }
    }

    @Test(arguments: passing) func `a get has all bytes, whatever befalls its first attempts`(fault: Fault) async throws
    {
        try await withServer(impatience(fault)) { server, store in
            server.plant("blob/ab/cd", bytes)
            server.fail([0: fault, 1: fault])
            let found = try await store.get(key, range: nil, deadline: .soon)
            #expect(found == bytes)
            #expect(isExpected(server.requests.count, 3, fault))
        }
    }

    static let lasting: [(Fault, ObjectStoreError.Code)] = [
        (.answer(500, "InternalError"), .unavailable), (.answer(503, "SlowDown"), .unavailable),
        (.answer(409, "ConditionalRequestConflict"), .conflict), (.hangUp, .unavailable), (.babble, .nonsense),
        (.forgetLength, .nonsense), (.loseAnswer, .unavailable), (.stayAway, .timedOut),
    ]

    @Test(arguments: lasting) func `what does not pass ends with its error, after few attempts`(
        fault: Fault, code: ObjectStoreError.Code
    ) async throws {
        try await withServer({
            impatience(fault)(&$0)
            $0.maximumAttempts = 3
        }) { server, store in
            server.fail([:], always: fault)
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.get(key, range: nil, deadline: .soon)
            }
            #expect(error?.code == code)
            #expect(server.requests.count == 3)
        }
    }

    @Test func `a body that breaks off is never an answer`() async throws {
        try await withServer { server, store in
            server.plant("blob/ab/cd", bytes)
            server.fail([:], always: .cutShort)
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.get(key, range: nil, deadline: .soon)
            }
            #expect(error?.code == .damaged)
            #expect(server.requests.count == 5)
        }
    }

    static let final: [(Fault, ObjectStoreError.Code)] = [
        (.answer(301, "PermanentRedirect"), .redirected), (.answer(307, "TemporaryRedirect"), .redirected),
        (.answer(403, "AccessDenied"), .refused), (.answer(403, "RequestTimeTooSkewed"), .clockSkew),
        (.answer(404, "NoSuchBucket"), .missing), (.answer(501, "NotImplemented"), .invalid),
        (.answer(507, "InsufficientStorage"), .full),
    ]

    @Test(arguments: final) func `what no other attempt would change is told at once`(
        fault: Fault, code: ObjectStoreError.Code
    ) async throws {
        try await withServer { server, store in
            server.fail([:], always: fault)
            for call in 0..<2 {
                let error = await #expect(throws: ObjectStoreError.self) {
                    if call == 0 {
                        _ = try await store.put(key, bytes, deadline: .soon)
                    } else {
                        _ = try await store.get(key, range: nil, deadline: .soon)
                    }
                }
                #expect(error?.code == code)
            }
            #expect(server.requests.count == 2)
            #expect(server.objects.isEmpty)
        }
    }

    @Test func `the deadline is kept when nobody answers`() async throws {
        try await withServer({ $0.patience = .seconds(60) }) { server, store in
            server.fail([:], always: .stayAway)
            let start = currentInstant()
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.put(key, bytes, deadline: start + .milliseconds(300))
            }
            #expect(error?.code == .timedOut)
            // The first attempt had half of it.
            #expect(currentInstant() - start >= .milliseconds(150))
        }
    }

    /// A connection may be closed between its beginning and its first use.
    @Test func `a server that closes every connection at once holds no call up`() async throws {
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { $0.close() }
            .bind(host: "127.0.0.1", port: 0).get()
        var settings = S3Settings(
            endpoint: try #require(S3Endpoint("http://127.0.0.1:\(server.localAddress?.port ?? 0)")),
            bucket: "bucket", region: "us-east-1", credentials: S3Credentials(accessKey: "key", secretKey: "secret"))
        settings.firstPause = .milliseconds(1)
        let store = try S3Store.test(settings)
        await withDiscardingTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<100 {
                        let failure = await #expect(throws: ObjectStoreError.self) {
                            try await store.probe(deadline: .soon)
                        }
                        #expect(failure?.code == .unavailable)
                    }
                }
            }
        }
        await store.shutdown()
        try await server.close()
    }

    @Test func `a patient call leaves half of its time for another attempt`() async throws {
        try await withServer({ $0.patience = .seconds(60) }) { server, store in
            server.fail([0: .stayAway])
            let creation = try await store.put(key, bytes, deadline: currentInstant() + .seconds(4))
            #expect(creation == .alreadyThere)
            #expect(server.creations == ["blob/ab/cd": 1])
        }
    }

    @Test func `a call that is cancelled ends, and leaves its connection to nobody`() async throws {
        try await withServer({
            $0.maximumConnections = 1; $0.patience = .seconds(60)
        }) { server, store in
            server.fail([0: .stayAway])
            let call = Task { try await store.put(key, bytes, deadline: .soon) }
            while server.requests.isEmpty { await Task.yield() }
            call.cancel()
            let error = await #expect(throws: ObjectStoreError.self) { try await call.value }
            #expect(error?.code == .stopped)
            let creation = try await store.put(key, bytes, deadline: .soon)
            #expect(creation == .alreadyThere)
        }
    }

    @Test func `a shutdown ends calls under way`() async throws {
        try await withServer({
            $0.patience = .seconds(60); $0.maximumAttempts = 1
        }) { server, store in
            server.fail([0: .stayAway])
            let call = Task { try await store.put(key, bytes, deadline: .soon) }
            while server.requests.isEmpty { await Task.yield() }
            await store.shutdown()
            await #expect(throws: ObjectStoreError.self) { try await call.value }
        }
    }

    @Test func `a list that is out of order or goes in circles is refused`() async throws {
        try await withServer({ $0.maximumAttempts = 1 }) { server, store in
            server.plant("b", [])
            server.plant("a", [])
            let listed = try await store.list(prefix: "", after: nil, limit: 9, deadline: .soon)
            #expect(listed.count == 2)
            // The scripted store knows no start-after.
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.list(prefix: "", after: ObjectKey("a"), limit: 9, deadline: .soon)
            }
            #expect(error?.code == .nonsense)
        }
    }

    // MARK: Large objects

    private func putLarge(_ store: S3Store, pieces: Int = 2) async throws(ObjectStoreError) -> Creation {
        let left = Mutex(pieces)
        return try await store.putLarge(key, deadline: .soon) { () async throws(ObjectStoreError) in
            left.withLock { left -> [UInt8]? in
                left -= 1
                return left < 0 ? nil : [UInt8](repeating: UInt8(left), count: 3 << 20)
            }
        }
    }

    private static let large = [UInt8](repeating: 1, count: 3 << 20) + [UInt8](repeating: 0, count: 3 << 20)

    /// Leftovers are looked for, the upload is begun, two parts are sent, and it is completed.
    @Test(arguments: [Fault.answer(500, "InternalError"), .loseAnswer, .hangUp, .cutShort])
    func `a large object is made once, whichever request fails`(fault: Fault) async throws {
        for failing in 0..<5 {
            try await withServer { server, store in
                server.fail([failing: fault])
                _ = try await putLarge(store)
                #expect(server.requests.count >= 6, "failing \(failing)")
                #expect(server.objects["blob/ab/cd"] == Self.large, "failing \(failing)")
                #expect(server.creations == ["blob/ab/cd": 1], "failing \(failing)")
                // The answer that named an upload may be the one that was lost.
                #expect(
                    server.uploads
                        == (failing == 1 && fault != .answer(500, "InternalError") && fault != .hangUp ? 1 : 0))
            }
        }
    }

    @Test(arguments: [Fault.answer(403, "AccessDenied"), .answer(409, "ConditionalRequestConflict")])
    func `an upload that fails is aborted, and makes nothing`(fault: Fault) async throws {
        for failing in 2..<5 {
            try await withServer({ $0.maximumAttempts = 1 }) { server, store in
                server.fail([failing: fault])
                await #expect(throws: ObjectStoreError.self) { try await putLarge(store) }
                #expect(server.requests.last == "DELETE blob/ab/cd?uploadId", "failing \(failing)")
                #expect(server.objects.isEmpty)
                #expect(server.uploads == 0)
            }
        }
    }

    @Test func `an upload that loses to another writer is aborted`() async throws {
        try await withServer { server, store in
            server.plant("blob/ab/cd", [1])
            let creation = try await putLarge(store)
            #expect(creation == .alreadyThere)
            #expect(server.objects["blob/ab/cd"] == [1])
            #expect(server.uploads == 0)
        }
    }

    @Test func `a completion that fails late is not taken for one`() async throws {
        try await withServer({ $0.maximumAttempts = 1 }) { server, store in
            server.fail([4: .answer(200, "InternalError")])
            let error = await #expect(throws: ObjectStoreError.self) { try await putLarge(store) }
            #expect(error?.code == .unavailable)
            #expect(server.objects.isEmpty)
            #expect(server.uploads == 0)
        }
    }

    @Test func `what a cancelled call has sent is aborted`() async throws {
        try await withServer({ $0.patience = .seconds(60) }) { server, store in
            server.fail([3: .stayAway])
            let call = Task { try await putLarge(store) }
            while server.requests.count < 4 { await Task.yield() }
            call.cancel()
            await #expect(throws: ObjectStoreError.self) { try await call.value }
            #expect(server.objects.isEmpty)
            #expect(server.uploads == 0)
        }
    }

    @Test func `uploads that ended processes left behind are aborted, once a day`() async throws {
        try await withServer { server, store in
            server.plantUpload("left")
            server.plantUpload("behind")
            _ = try await putLarge(store)
            #expect(server.uploads == 0)
            server.plantUpload("later")
            _ = try await putLarge(store)
            #expect(server.uploads == 1)
        }
    }

    @Test func `uploads of today are left alone`() async throws {
        let server = try await ScriptedS3()
        // Twelve hours after those of the scripted store began.
        let store = try server.makeStore(wall: { (1_577_836_800 + 12 * 3600) * 1_000_000_000 })
        server.plantUpload("young")
        _ = try await putLarge(store)
        #expect(server.uploads == 1)
        await store.shutdown()
        await server.stop()
    }
}
