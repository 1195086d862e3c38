import CacheCore
import EsperTypes
import KernelCache
import Logging
import NIOPosix
import RaftRuntime
import Synchronization
import TestSupport
import Testing

// Serialized: each starts servers, and all at once they would wait for one another.
@Suite(.timeLimit(.minutes(2)), .serialized) struct RedisTierTests {
    private func withTier<Value>(
        _ server: PrivateRedis, _ body: (RedisTier) async throws -> Value
    ) async throws -> Value {
        let tier = try RedisTier(
            url: "redis://127.0.0.1:\(server.port)", on: MultiThreadedEventLoopGroup.singleton, seed: 1, logger: silent)
        do {
            let value = try await body(tier)
            await tier.close()
            return value
        } catch {
            await tier.close()
            throw error
        }
    }

    private func key(_ digest: Digest) -> String { "esper:blob:\(digest)" }

    @Test func `blobs are put, found, asked for and deleted, in more than one batch`() async throws {
        try await withPrivateRedis { server in
            try await withTier(server) { tier in
                let blobs = (0..<41).map { number in
                    let bytes = [UInt8](repeating: UInt8(number), count: number == 40 ? 1 << 20 : 200_000)
                    return Blob(digest: Digest(hashing: bytes), bytes: bytes)
                }
                let digests = blobs.map(\.digest)
                let absent = Blob.sample(1000).digest
                try await tier.put(blobs, deadline: .soon)
                #expect(try await tier.has(digests + [absent], deadline: .soon) == Set(digests))
                let found = try await tier.get(digests + [absent], deadline: .soon)
                #expect(found == Dictionary(uniqueKeysWithValues: blobs.map { ($0.digest, $0.bytes) }))
                #expect(try await server.cli("TTL", key(digests[0])) == "-1")
                try await tier.delete(Array(digests[..<40]) + [absent], deadline: .soon)
                #expect(try await tier.has(digests, deadline: .soon) == [digests[40]])
                #expect(try await server.cli("DBSIZE") == "1")
                try await tier.probe(deadline: .soon)
            }
        }
    }

    @Test func `blobs are spread over a cluster`() async throws {
        try await withPrivateRedisCluster { servers in
            try await withTier(servers[1]) { tier in
                let blobs = (0..<100).map { Blob.sample(UInt64($0)) }
                let digests = blobs.map(\.digest)
                try await tier.put(blobs, deadline: .soon)
                #expect(
                    try await tier.get(digests, deadline: .soon)
                        == Dictionary(uniqueKeysWithValues: blobs.map { ($0.digest, $0.bytes) }))
                for server in servers { #expect(try await server.cli("DBSIZE") != "0") }
                try await tier.probe(deadline: .soon)
                try await tier.delete(digests, deadline: .soon)
                #expect(try await tier.has(digests, deadline: .soon).isEmpty)
            }
        }
    }

    @Test func `nothing asked for costs nothing and is nothing`() async throws {
        let tier = try RedisTier(
            url: "redis://127.0.0.1:1", on: MultiThreadedEventLoopGroup.singleton, seed: 1, logger: silent)
        #expect(try await tier.get([], deadline: .soon).isEmpty)
        #expect(try await tier.has([], deadline: .soon).isEmpty)
        try await tier.put([], deadline: .soon)
        try await tier.delete([], deadline: .soon)
        await tier.close()
    }

    @Test func `few rights are enough`() async throws {
        var options = PrivateRedis.Options()
        options.lines = [
            "user esper on >horse ~esper:blob:* +get +mget +set +exists +del +ping +select +client|setname +cluster|slots"
        ]
        try await withPrivateRedis(options) { server in
            let tier = try RedisTier(
                url: "redis://esper:horse@127.0.0.1:\(server.port)/1", on: MultiThreadedEventLoopGroup.singleton,
                seed: 1,
                logger: silent)
            let blob = Blob.sample(1)
            try await tier.put([blob], deadline: .soon)
            #expect(try await tier.has([blob.digest], deadline: .soon) == [blob.digest])
            #expect(try await tier.get([blob.digest], deadline: .soon) == [blob.digest: blob.bytes])
            try await tier.discard(damaged: [blob.digest], deadline: .soon)
            try await tier.delete([blob.digest], deadline: .soon)
            try await tier.probe(deadline: .soon)
            await tier.close()
        }
    }

    @Test func `only copies that are still wrong are discarded`() async throws {
        try await withPrivateRedis { server in
            try await withTier(server) { tier in
                let (damaged, healed) = (Blob.sample(1), Blob.sample(2))
                try await server.cli("SET", key(damaged.digest), "something else")
                try await tier.put([healed], deadline: .soon)
                try await tier.discard(
                    damaged: [damaged.digest, healed.digest, Blob.sample(3).digest], deadline: .soon)
                #expect(try await tier.has([damaged.digest, healed.digest], deadline: .soon) == [healed.digest])
            }
        }
    }

    @Test func `a bit that flips in Redis is found, counted as absent and replaced; right copies stay`() async throws {
        try await withPrivateRedis { server in
            try await withTier(server) { tier in
                var settings = GuardedTier.Settings()
                settings.callLimit = .seconds(20)
                let log = CollectedLog()
                let logger = Logger(label: "test") { _ in log }
                let guarded = GuardedTier(tier, settings: settings, seed: 1, logger: logger)
                let blobs = (1...5).map { Blob.sample(UInt64($0), size: 5000) }
                let digests = blobs.map(\.digest)
                try await guarded.put(blobs, deadline: .soon)
                let bit = try await server.cli("GETBIT", key(digests[2]), "12345")
                try await server.cli("SETBIT", key(digests[2]), "12345", bit == "0" ? "1" : "0")
                var rest = Dictionary(uniqueKeysWithValues: blobs.map { ($0.digest, $0.bytes) })
                rest[digests[2]] = nil
                #expect(try await guarded.get(digests, deadline: .soon) == rest)
                #expect(log.errors == ["1 of \(digests[2])"])
                #expect(try await guarded.has(digests, deadline: .soon) == Set(rest.keys))
                #expect(guarded.health == .closed)
                try await guarded.put(blobs, deadline: .soon)
                #expect(try await guarded.get([digests[2]], deadline: .soon) == [digests[2]: blobs[2].bytes])
            }
        }
    }

    @Test func `failures say whose they are`() async throws {
        var options = PrivateRedis.Options()
        options.password = "right-horse"
        options.lines = ["maxmemory 4mb", "maxmemory-policy noeviction"]
        try await withPrivateRedis(options) { server in
            func code(_ url: String, _ body: (RedisTier) async throws(TierFailure) -> Void) async throws
                -> TierFailure.Code?
            {
                let tier = try RedisTier(url: url, on: MultiThreadedEventLoopGroup.singleton, seed: 1, logger: silent)
                var code: TierFailure.Code?
                do throws(TierFailure) { try await body(tier) } catch {
                    #expect(!error.description.contains("horse"))
                    code = error.code
                }
                await tier.close()
                return code
            }
            let right = "redis://:right-horse@127.0.0.1:\(server.port)"
            let read: (RedisTier) async throws(TierFailure) -> Void = { tier throws(TierFailure) in
                _ = try await tier.get([Blob.sample(1).digest], deadline: .soon)
            }
            #expect(try await code(right, read) == nil)
            #expect(try await code("redis://:wrong-horse@127.0.0.1:\(server.port)", read) == .refused)
            #expect(try await code("redis://127.0.0.1:\(server.port)", read) == .refused)
            let closed = try FreePorts.take()
            #expect(try await code("redis://127.0.0.1:\(closed)", read) == .unavailable)
            let fill: (RedisTier) async throws(TierFailure) -> Void = { tier throws(TierFailure) in
                let bytes = [UInt8](repeating: 1, count: 1 << 20)
                // The tier takes anybody's word for a digest.
                try await tier.put((0..<8).map { Blob(digest: Blob.sample($0).digest, bytes: bytes) }, deadline: .soon)
            }
            #expect(try await code(right, fill) == .full)
            #expect(try await code(right, read) == nil)
            server.pause()
            let late: (RedisTier) async throws(TierFailure) -> Void = { tier throws(TierFailure) in
                _ = try await tier.get([Blob.sample(1).digest], deadline: NodeClock.now() + .milliseconds(50))
            }
            #expect(try await code(right, late) == .timedOut)
        }
        let url = #expect(throws: TierFailure.self) {
            try RedisTier(
                url: "redis://:horse@", on: MultiThreadedEventLoopGroup.singleton, seed: 1, logger: silent)
        }
        #expect(url?.code == .invalid && url?.description.contains("horse") == false)
    }
}

/// What was logged as an error: how many of which digest.
private final class CollectedLog: LogHandler {
    private let collected = Mutex<[String]>([])

    var errors: [String] { collected.withLock { $0 } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .error }
        set {}
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        let metadata = event.metadata ?? [:]
        let text = "\(metadata["count"].map { "\($0)" } ?? "") of \(metadata["digest"].map { "\($0)" } ?? "")"
        collected.withLock { $0.append(text) }
    }
}
