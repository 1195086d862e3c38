import EsperTypes
import Foundation
import ObjectStore
import TestSupport
import Testing

/// What only a real store can show.
@Suite(.timeLimit(.minutes(3)), .enabled(if: PrivateSeaweedFS.isInstalled, "needs weed beside ESPER_TEST_PYTHON"))
struct SeaweedFSTests {
    private let key = ObjectKey("a/b")!

    /// A store over the shared server, shut down afterwards.
    private func withStore<Value>(
        _ change: (inout S3Settings) -> Void = { _ in },
        wall: @escaping @Sendable () -> UInt64 = wallNanoseconds, _ body: (S3Store) async throws -> Value
    ) async throws -> Value {
        var settings = try S3Settings.test(
            try await PrivateSeaweedFS.shared(), prefix: "test-\(UInt64.random(in: 0 ... .max))")
        change(&settings)
        let store = try S3Store.test(settings, wall: wall)
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(store))
        } catch {
            result = .failure(error)
        }
        await store.shutdown()
        return try result.get()
    }

    /// What each call fails with.
    private func codes(_ store: S3Store) async -> [ObjectStoreError.Code?] {
        func code(_ body: () async throws(ObjectStoreError) -> Void) async -> ObjectStoreError.Code? {
            do throws(ObjectStoreError) {
                try await body()
                return nil
            } catch {
                return error.code
            }
        }
        return [
            await code { () throws(ObjectStoreError) in _ = try await store.put(key, [1], deadline: .soon) },
            await code { () throws(ObjectStoreError) in _ = try await store.get(key, range: nil, deadline: .soon) },
            await code { () throws(ObjectStoreError) in _ = try await store.head(key, deadline: .soon) },
            await code { () throws(ObjectStoreError) in
                _ = try await store.list(prefix: "", after: nil, limit: 1, deadline: .soon)
            },
            await code { () throws(ObjectStoreError) in try await store.probe(deadline: .soon) },
        ]
    }

    @Test func `a wrong secret and an unknown key are refused`() async throws {
        let wrong = try await withStore({ $0.credentials.secretKey = "wrong" }) { await codes($0) }
        #expect(wrong == Array(repeating: .refused, count: 5))
        let unknown = try await withStore({ $0.credentials.accessKey = "nobody" }) { await codes($0) }
        #expect(unknown == Array(repeating: .refused, count: 5))
    }

    @Test func `who may read only cannot write`() async throws {
        try await withStore({
            $0.credentials = S3Credentials(
                accessKey: PrivateSeaweedFS.readerKey, secretKey: PrivateSeaweedFS.readerSecretKey)
        }) { store in
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.put(key, [1], deadline: .soon)
            }
            #expect(error?.code == .refused)
            let found = try await store.get(key, range: nil, deadline: .soon)
            #expect(found == nil)
        }
    }

    @Test func `a bucket that is not there is missing, not empty`() async throws {
        let missing = try await withStore({ $0.bucket = "another-bucket" }) { await codes($0) }
        #expect(missing == Array(repeating: .missing, count: 5))
    }

    @Test(arguments: [-3600, 3600]) func `a clock that is an hour off is told`(seconds: Int64) async throws {
        let wall: @Sendable () -> UInt64 = { UInt64(Int64(wallNanoseconds()) + seconds * 1_000_000_000) }
        let error = await #expect(throws: ObjectStoreError.self) {
            try await withStore(wall: wall) { try await $0.put(key, [1], deadline: .soon) }
        }
        #expect(error?.code == .clockSkew)
    }

    @Test func `the store keeps the hash of what was put`() async throws {
        try await withStore { store in
            _ = try await store.put(key, Array("hello".utf8), deadline: .soon)
            let expected = Digest("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
            #expect(try await store.head(key, deadline: .soon) == ObjectFacts(size: 5, sha256: expected))
        }
    }

    @Test func `what is too long to be read is refused, and read in parts`() async throws {
        try await withStore({ $0.maximumReadBytes = 100 }) { store in
            _ = try await store.put(key, [UInt8](repeating: 7, count: 101), deadline: .soon)
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.get(key, range: nil, deadline: .soon)
            }
            #expect(error?.code == .invalid)
            #expect(try await store.get(key, range: 1..<101, deadline: .soon)?.count == 100)
        }
    }

    @Test func `more calls than connections wait for their turn`() async throws {
        try await withStore({ $0.maximumConnections = 2 }) { store in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 as Range<UInt8> {
                    group.addTask {
                        let key = try #require(ObjectKey("many/\(number)"))
                        _ = try await store.put(key, [number], deadline: .soon)
                        #expect(try await store.get(key, range: nil, deadline: .soon) == [number])
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func `a store that stands still, is killed and comes back is used again`() async throws {
        try await withPrivateSeaweedFS(withTLS: true) { server in
            let settings = try S3Settings.test(server)
            let store = try S3Store.test(settings)
            #expect(try await store.put(key, [1, 2, 3], deadline: .soon) == .created)

            try server.pause()
            let stalled = await #expect(throws: ObjectStoreError.self) {
                try await store.get(key, range: nil, deadline: currentInstant() + .milliseconds(300))
            }
            #expect(stalled?.code == .timedOut)
            try server.resume()
            #expect(try await store.get(key, range: nil, deadline: .soon) == [1, 2, 3])

            await server.killServer()
            let gone = await #expect(throws: ObjectStoreError.self) {
                try await store.put(try #require(ObjectKey("a/c")), [4], deadline: .soon)
            }
            #expect(gone?.code == .unavailable)
            try await server.startServer()
            #expect(try await store.get(key, range: nil, deadline: .soon) == [1, 2, 3])
            #expect(try await store.put(key, [5], deadline: .soon) == .alreadyThere)
            await store.shutdown()

            // The same server, seen by who trusts another authority.
            var doubtful = settings
            doubtful.authorityFile = server.directory + "/other.pem"
            let doubter = try S3Store.test(doubtful)
            // While tasks wait for processors, TLS is refused before the caller has sent anything.
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        while !Task.isCancelled {
                            let end = currentInstant() + .milliseconds(5)
                            while currentInstant() < end {}
                            await Task.yield()
                        }
                    }
                }
                for _ in 0..<5 {
                    let untrusted = await #expect(throws: ObjectStoreError.self) {
                        try await doubter.probe(deadline: .soon)
                    }
                    #expect(untrusted?.code == .refused)
                }
                group.cancelAll()
            }
            await doubter.shutdown()
        }
    }
}
