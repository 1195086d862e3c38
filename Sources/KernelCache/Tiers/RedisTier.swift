public import CacheCore
public import EsperTypes
public import Logging
public import NIOCore
internal import RaftRuntime
internal import Redis

/// Blobs in Redis, or in a Redis Cluster, under `esper:blob:` and the digest's 64 digits.
///
/// Redis may forget any of them at any time and is never asked for more: no TTL, since the server's own policy
/// (`maxmemory-policy allkeys-lfu`) knows better what to give up. A copy here counts for nothing when it is asked how durable a
/// blob is.
///
/// Batches are bounded: 32 values are read at once, and 4 MiB written.
public final class RedisTier: BlobTier {
    public let tier = CacheTier.redis
    private let client: RedisClient

    /// Connects to nothing yet: a server that is down is no obstacle.
    ///
    /// - Parameters:
    ///   - url: `redis://[user[:password]@]host[:port][/database]`, or `rediss://…` with `?ca_file=…&cert_file=…&key_file=…`.
    ///   - group: must outlive the tier.
    ///   - seed: of the jitter between attempts to connect; different for every node.
    /// - Throws: a failure of code `invalid` that says what is wrong with the URL or the files it names, and no secrets.
    public convenience init(
        url: String, on group: any EventLoopGroup, seed: UInt64, logger: Logger
    ) throws(TierFailure) {
        do throws(RedisError) {
            let settings = try RedisSettings(url: url)
            self.init(try RedisClient(settings: settings, on: group, seed: seed, logger: logger))
        } catch {
            throw TierFailure(error)
        }
    }

    init(_ client: RedisClient) { self.client = client }

    /// Ends what is under way and returns when all connections are closed.
    public func close() async { await client.close() }

    private static let valuesPerRead = 32
    private static let bytesPerWrite = 4 << 20
    private static let keysPerQuestion = 1024

    // MARK: Calls

    public func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        var found: [Digest: [UInt8]] = [:]
        for batch in Self.batches(of: digests, maximum: Self.valuesPerRead) {
            let replies = try await ask(deadline) { client, limit throws(RedisError) in
                try await client.values(of: batch.map(Self.key), within: limit)
            }
            for (digest, reply) in zip(batch, replies) {
                switch reply {
                case .bytes(let bytes): found[digest] = bytes
                // What is no string, for MGET.
                case .null: break
                case .error(let error): throw TierFailure(error)
                case .array, .integer, .status: throw Self.unexpected
                }
            }
        }
        return found
    }

    /// What is there already stays, and is not compared: reading it would cost more than to find damage when it is used.
    public func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        var rest = blobs[...]
        while !rest.isEmpty {
            var bytes = 0
            let batch = rest.prefix { blob in
                defer { bytes += blob.bytes.count }
                return bytes == 0 || bytes + blob.bytes.count <= Self.bytesPerWrite
            }
            rest = rest.dropFirst(batch.count)
            try await run(batch.map { .setIfAbsent(Self.key(of: $0.digest), $0.bytes) }, deadline)
        }
    }

    public func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        var found: Set<Digest> = []
        for batch in Self.batches(of: digests, maximum: Self.keysPerQuestion) {
            let replies = try await run(batch.map { .exists(Self.key(of: $0)) }, deadline)
            for (digest, reply) in zip(batch, replies) {
                guard case .integer(let count) = reply else { throw Self.unexpected }
                if count > 0 { found.insert(digest) }
            }
        }
        return found
    }

    public func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        for batch in Self.batches(of: digests, maximum: Self.keysPerQuestion) {
            try await run(batch.map { .delete(Self.key(of: $0)) }, deadline)
        }
    }

    /// Reads the values again and removes those that are still wrong, so that a right one that somebody has put there since the
    /// damage was found stays.
    ///
    /// Between that look and the removal somebody else may have removed the wrong one and a third put a right one: it is
    /// then removed too, which costs one miss. A transaction or a script would close the gap, at the price of a connection of
    /// its own or of rights that a cache's user need not have.
    public func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        for batch in Self.batches(of: digests, maximum: Self.valuesPerRead) {
            let values = try await get(batch, deadline: deadline)
            let damaged = batch.filter { digest in values[digest].map { Digest(hashing: $0) != digest } ?? false }
            try await delete(damaged, deadline: deadline)
        }
    }

    public func probe(deadline: Instant) async throws(TierFailure) {
        try await ask(deadline) { client, limit throws(RedisError) in try await client.ping(within: limit) }
    }

    // MARK: Steps

    /// The answers to the commands, none of them an error.
    @discardableResult
    private func run(_ commands: [RedisCommand], _ deadline: Instant) async throws(TierFailure) -> [RedisReply] {
        let replies = try await ask(deadline) { client, limit throws(RedisError) in
            try await client.send(commands, within: limit)
        }
        for case .error(let error) in replies { throw TierFailure(error) }
        return replies
    }

    private func ask<Value>(
        _ deadline: Instant, _ body: (RedisClient, Duration) async throws(RedisError) -> Value
    ) async throws(TierFailure) -> Value {
        // A caller without a deadline has a long one: the client's clock ends before ours does.
        let limit = min(deadline - NodeClock.now(), Self.longestCall)
        do throws(RedisError) { return try await body(client, limit) } catch { throw TierFailure(error) }
    }

    private static let longestCall: Duration = .seconds(3600)

    private static func key(of digest: Digest) -> [UInt8] { Array("esper:blob:\(digest)".utf8) }

    private static func batches(of digests: [Digest], maximum: Int) -> [[Digest]] {
        stride(from: 0, to: digests.count, by: maximum).map { Array(digests[$0..<min($0 + maximum, digests.count)]) }
    }

    private static let unexpected = TierFailure(.redis, .nonsense, "Redis answers something else than was asked for")
}
