import CacheCore
import EsperTypes

extension SettingsReader {
    static let cacheKeys: [(name: String, help: String)] = [
        ("cache.enabled", "false serves no kernel cache on this node; default: true"),
        ("cache.memory", "of values in memory; default: 256MiB"),
        ("cache.policy", "what memory gives up first: s3fifo, lru, lfu, sieve, fifo, clock or cost; default: s3fifo"),
        ("cache.copies", "of each blob in the cluster, 1 to 3; default: 2"),
        ("cache.directory", "where blobs are kept on this node's disk; default: cache in the data directory"),
        ("cache.catalog", "false keeps no blobs in the catalog's database; default: true"),
        ("cache.redis", "redis:// or rediss:// URL of a tier for blobs; default: none"),
        ("cache.archive.directory", "a directory that every node sees, as the archive; default: none"),
        ("cache.garbage_after", "how long blobs are kept that no name refers to; default: 24h"),
        ("cache.warm_rate", "bytes a second of warming; default: 32MiB"),
        ("cache.redis_door.address", "host:port for clients of Redis; default: none"),
        ("cache.redis_door.insecure", "true serves them in plaintext beyond loopback too; default: false"),
    ]

    mutating func readCache() -> NodeSettings.Cache {
        let copies = count("cache.copies", default: 2)
        if !(1...3).contains(copies) { complain("cache.copies", "must be 1, 2 or 3") }
        let redis = scalar("cache.redis")
        if let redis, !redis.text.hasPrefix("redis://"), !redis.text.hasPrefix("rediss://") {
            // The text may hold a password.
            complain("cache.redis", "is not a redis:// or rediss:// URL (\(redis.origin))")
        }
        let door = scalar("cache.redis_door.address").map { hostPort("cache.redis_door.address", $0) }
        let isInsecure = flag("cache.redis_door.insecure")
        if let door, !door.isLoopback, !isInsecure {
            complain(
                "cache.redis_door.address",
                "'\(door)' is plaintext, so it must be on loopback, or cache.redis_door.insecure must say so")
        }
        let grace = duration("cache.garbage_after", default: .seconds(24 * 3600))
        if grace < .seconds(3600), !flag("development") {
            complain("cache.garbage_after", "must be at least 1h, longer than the longest store takes")
        }
        return NodeSettings.Cache(
            isEnabled: flag("cache.enabled", default: true),
            memoryBytes: bytes("cache.memory", default: 256 << 20, atLeast: 1 << 20),
            policy: readPolicy(), copies: copies, directory: scalar("cache.directory")?.text,
            usesCatalog: flag("cache.catalog", default: true), redis: redis?.text,
            archiveDirectory: scalar("cache.archive.directory")?.text, garbageAfter: grace,
            warmBytesPerSecond: bytes("cache.warm_rate", default: 32 << 20, atLeast: 64 << 10),
            redisDoor: door, isRedisDoorInsecure: isInsecure)
    }

    private mutating func readPolicy() -> String {
        let names = EvictionPolicy.named.map(\.description)
        guard let scalar = scalar("cache.policy") else { return EvictionPolicy.s3fifo.description }
        if !names.contains(scalar.text) {
            complain("cache.policy", "'\(scalar.text)' is none of \(names.joined(separator: ", ")) (\(scalar.origin))")
        }
        return scalar.text
    }
}
