import CacheCore
import EsperTypes
import Foundation
import KernelCache
import Logging
import NIOPosix
import ObjectStore
import RaftRuntime
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct ArchiveTierTests {
    enum Kind: String, CaseIterable, CustomTestStringConvertible {
        case directory
        case s3

        static var all: [Kind] { PrivateSeaweedFS.isInstalled ? allCases : [.directory] }
        var testDescription: String { rawValue }
    }

    /// The tier as the cache uses it, and the store behind it.
    private func withTier(
        _ kind: Kind, _ body: (GuardedTier, any ObjectStore) async throws -> Void
    ) async throws {
        let store: any ObjectStore
        let root = "/tmp/esper-archive-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: root) }
        switch kind {
        case .directory: store = try DirectoryStore(at: root, now: { NodeClock.now() })
        case .s3:
            var settings = S3Settings(
                endpoint: try #require(S3Endpoint(try await PrivateSeaweedFS.shared().endpoint)),
                bucket: PrivateSeaweedFS.bucket, region: PrivateSeaweedFS.region,
                credentials: S3Credentials(
                    accessKey: PrivateSeaweedFS.accessKey, secretKey: PrivateSeaweedFS.secretKey))
            settings.prefix = ObjectKey("test-\(UInt64.random(in: 0 ... .max))")
            store = try S3Store(
                settings, on: MultiThreadedEventLoopGroup.singleton, now: { NodeClock.now() },
                wall: { NodeClock.wallNanoseconds() }, random: SystemRandomNumberGenerator(), logger: silent)
        }
        let archive = ArchiveTier(store)
        var limits = GuardedTier.Settings()
        (limits.callLimit, limits.writeLimit) = (.seconds(20), .seconds(20))
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(GuardedTier(archive, settings: limits, seed: 1, logger: silent), store))
        } catch {
            result = .failure(error)
        }
        await archive.close()
        try result.get()
    }

    @Test(arguments: Kind.all) func `blobs are objects that are created once`(kind: Kind) async throws {
        try await withTier(kind) { tier, store in
            let blobs = (0..<20).map { Blob.sample($0, size: 1000) }
            let digests = blobs.map(\.digest)
            #expect(try await tier.get(digests, deadline: .soon).isEmpty)
            #expect(try await tier.has(digests, deadline: .soon).isEmpty)
            try await tier.put(blobs, deadline: .soon)
            try await tier.put(blobs, deadline: .soon)
            let found = try await tier.get(digests + [Blob.sample(99).digest], deadline: .soon)
            #expect(found == Dictionary(uniqueKeysWithValues: blobs.map { ($0.digest, $0.bytes) }))
            let keys = try await store.list(prefix: "", after: nil, limit: 100, deadline: .soon).map(\.key.description)
            #expect(keys == digests.map { "blob/\("\($0)".prefix(2))/\($0)" }.sorted())
            try await tier.delete(Array(digests.prefix(5)), deadline: .soon)
            #expect(try await tier.has(digests, deadline: .soon) == Set(digests.dropFirst(5)))
            try await tier.probe(deadline: .soon)
        }
    }

    @Test(arguments: Kind.all) func `a damaged copy is absent, goes, and can be put again`(kind: Kind) async throws {
        try await withTier(kind) { tier, store in
            let (damaged, right) = (Blob.sample(1), Blob.sample(2))
            var bytes = damaged.bytes
            bytes[50] ^= 1
            _ = try await store.put(ArchiveTier.key(damaged.digest), bytes, deadline: .soon)
            try await tier.put([right], deadline: .soon)
            let digests = [damaged.digest, right.digest]
            #expect(try await tier.get(digests, deadline: .soon) == [right.digest: right.bytes])
            #expect(try await tier.has(digests, deadline: .soon) == [right.digest])
            try await tier.put([damaged], deadline: .soon)
            #expect(try await tier.get(digests, deadline: .soon).count == 2)
        }
    }

    @Test(arguments: Kind.all) func `a put does not rely on a damaged copy that is there`(kind: Kind) async throws {
        try await withTier(kind) { tier, store in
            let blob = Blob.sample(1)
            var bytes = blob.bytes
            bytes[50] ^= 1
            _ = try await store.put(ArchiveTier.key(blob.digest), bytes, deadline: .soon)
            try await tier.put([blob], deadline: .soon)
            #expect(try await tier.get([blob.digest], deadline: .soon) == [blob.digest: blob.bytes])
        }
    }

    @Test(arguments: Kind.all) func `what has become right meanwhile is not discarded`(kind: Kind) async throws {
        try await withTier(kind) { tier, store in
            let blob = Blob.sample(1)
            try await tier.put([blob], deadline: .soon)
            try await tier.discard(damaged: [blob.digest, Blob.sample(2).digest], deadline: .soon)
            #expect(try await tier.get([blob.digest], deadline: .soon) == [blob.digest: blob.bytes])
        }
    }

    static let codes: [(ObjectStoreError.Code, TierFailure.Code)] = [
        (.unavailable, .unavailable), (.timedOut, .timedOut), (.conflict, .unavailable), (.refused, .refused),
        (.clockSkew, .refused), (.missing, .refused), (.redirected, .refused), (.full, .full),
        (.damaged, .unavailable), (.nonsense, .nonsense), (.invalid, .invalid), (.stopped, .stopped),
    ]

    @Test(arguments: Kind.all) func `another cluster's archive is refused before anything is listed or removed`(
        kind: Kind
    ) async throws {
        try await withTier(kind) { _, store in
            let blob = Blob.sample(1)
            let first = ArchiveTier(store, owner: "one")
            try await first.probe(deadline: .soon)
            try await first.put([blob], deadline: .soon)
            let page = try await first.idle(for: .zero, after: nil, limit: 10, deadline: .soon)
            #expect(page.blobs.map(\.digest) == [blob.digest])
            #expect(page.next == nil)
            #expect(try await first.idle(for: .seconds(60), after: nil, limit: 10, deadline: .soon).blobs.isEmpty)
            let second = ArchiveTier(store, owner: "two")
            for body in [
                { try await second.probe(deadline: .soon) },
                { _ = try await second.idle(for: .zero, after: nil, limit: 10, deadline: .soon) },
                { _ = try await second.remove([blob.digest], idleFor: .zero, deadline: .soon) },
            ] as [() async throws -> Void] {
                let failure = await #expect(throws: TierFailure.self) { try await body() }
                #expect(failure?.code == .refused)
            }
            #expect(try await first.has([blob.digest], deadline: .soon) == [blob.digest])
        }
    }

    @Test(arguments: codes) func `failures of the store are failures of the tier, never absence`(
        code: ObjectStoreError.Code, expected: TierFailure.Code
    ) async throws {
        #expect(Self.codes.count == ObjectStoreError.Code.allCases.count)
        let tier = ArchiveTier(CountingStore(failing: code))
        let blob = Blob.sample(1)
        let read = await #expect(throws: TierFailure.self) { try await tier.get([blob.digest], deadline: .soon) }
        #expect(read == TierFailure(.archive, expected, "as the script says"))
        let asked = await #expect(throws: TierFailure.self) { try await tier.has([blob.digest], deadline: .soon) }
        #expect(asked?.code == expected)
        let written = await #expect(throws: TierFailure.self) { try await tier.put([blob], deadline: .soon) }
        #expect(written?.code == expected)
        let probed = await #expect(throws: TierFailure.self) { try await tier.probe(deadline: .soon) }
        #expect(probed?.code == expected)
    }

    @Test func `one call has few objects under way`() async throws {
        let store = CountingStore(failing: nil, meeting: 3)
        let tier = ArchiveTier(store, parallelism: 3)
        try await tier.put((0..<40).map { Blob.sample($0) }, deadline: .soon)
        #expect(store.calls == 40)
        #expect(store.most == 3)
    }
}

/// A store that keeps nothing and counts.
private final class CountingStore: ObjectStore {
    private struct State {
        var calls = 0
        var running = 0
        var most = 0
    }

    private let failing: ObjectStoreError.Code?
    /// The first calls wait for one another until so many have met.
    private let meeting: Int
    private let state = Mutex(State())

    init(failing: ObjectStoreError.Code?, meeting: Int = 1) {
        self.failing = failing
        self.meeting = meeting
    }

    var calls: Int { state.withLock { $0.calls } }
    /// At once.
    var most: Int { state.withLock { $0.most } }

    private func enter() async throws(ObjectStoreError) {
        state.withLock { state in
            state.calls += 1
            state.running += 1
            state.most = max(state.most, state.running)
        }
        while most < meeting, !Task.isCancelled { await Task.yield() }
        // One too many gets its turn.
        for _ in 0..<10 { await Task.yield() }
        state.withLock { $0.running -= 1 }
        if let failing { throw ObjectStoreError(failing, "as the script says") }
    }

    func put(_ key: ObjectKey, _ bytes: [UInt8], deadline: Instant) async throws(ObjectStoreError) -> Creation {
        try await enter()
        return .created
    }

    func putLarge(
        _ key: ObjectKey, deadline: Instant, pieces next: @Sendable () async throws(ObjectStoreError) -> [UInt8]?
    ) async throws(ObjectStoreError) -> Creation {
        try await enter()
        return .created
    }

    func get(
        _ key: ObjectKey, range: Range<UInt64>?, deadline: Instant
    ) async throws(ObjectStoreError) -> [UInt8]? {
        try await enter()
        return nil
    }

    func head(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) -> ObjectFacts? {
        try await enter()
        return nil
    }

    func delete(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) { try await enter() }

    func delete(
        _ key: ObjectKey, if isSuch: @escaping @Sendable ([UInt8]) -> Bool, deadline: Instant
    ) async throws(ObjectStoreError) { try await enter() }

    func list(
        prefix: String, after: ObjectKey?, limit: Int, deadline: Instant
    ) async throws(ObjectStoreError) -> [ListedObject] {
        try await enter()
        return []
    }

    func probe(deadline: Instant) async throws(ObjectStoreError) { try await enter() }
    func shutdown() async {}
}
