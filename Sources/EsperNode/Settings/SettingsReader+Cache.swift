import CacheCore
import EsperTypes
import KernelCache
import ObjectStore

extension SettingsReader {
    static let cacheKeys: [(name: String, help: String)] = [
        ("cache.enabled", "false serves no kernel cache on this node; default: true"),
        ("cache.memory", "of values in memory; default: 256MiB"),
        (
            "cache.policy",
            "what memory gives up first: s3fifo, lru, lfu, sieve, fifo, clock, cost or custom:sampled_cost; default: s3fifo"
        ),
        ("cache.copies", "of each blob in the cluster, 1 to 3; default: 2"),
        ("cache.directory", "where blobs are kept on this node's disk; default: cache in the data directory"),
        ("cache.catalog", "false keeps no blobs in the catalog's database; default: true"),
        ("cache.demote_after", "how long blobs stay in the catalog unused, when there is an archive; default: 30d"),
        ("cache.demote_rate", "bytes a second on their way from the catalog to the archive; default: 8MiB"),
        ("cache.redis", "redis:// or rediss:// URL of a tier for blobs; default: none"),
        ("cache.archive.directory", "a directory that every node sees, as the archive; default: none"),
        ("cache.archive.s3.endpoint", "https://host[:port] of a store that speaks S3, as the archive; default: none"),
        ("cache.archive.s3.bucket", "its bucket, which must be there"),
        ("cache.archive.s3.region", "of the bucket, as signatures name it; default: us-east-1"),
        (
            "cache.archive.s3.prefix",
            "what the keys of all objects begin with, without a slash at its end; default: nothing"
        ),
        ("cache.archive.s3.access_key", "the name of the key that signs requests"),
        ("cache.archive.s3.secret_key_file", "file with that key's secret"),
        ("cache.archive.s3.session_token_file", "file with the token of temporary credentials; default: none"),
        ("cache.archive.s3.ca_file", "PEM file of the store's authorities; default: those the system trusts"),
        ("cache.archive.s3.path_style", "false asks bucket.host rather than host/bucket; default: true"),
        ("cache.archive.s3.insecure", "true allows http:// beyond loopback; default: false"),
        ("cache.garbage_after", "how long blobs are kept that no name refers to; default: 24h"),
        ("cache.scrub", "percent of all copies that are read and hashed again in a day; 0: none; default: 1"),
        (
            "cache.sync_interval",
            "how often a node compares its shards with other nodes and tiers, give or take a quarter; 0: never; default: 1h"
        ),
        ("cache.warm_rate", "bytes a second of warming; default: 32MiB"),
        (
            "cache.trace",
            "file that every use of the cache is written to, for 'esper bench cache --trace'; default: none"
        ),
        ("cache.trace_sampling", "of so many keys one is written there; default: 1"),
        ("cache.weight", "this node's share of the shards, relative to the others', 0 to 1000000; default: 100"),
        (
            "cache.move_rate",
            "bytes a second that moves of shards may bring to this node; default: the cluster's throttle"
        ),
        (
            "cache.drain_time",
            "how long a planned stop lets this node's shards move away first; at most a quarter of shutdown_timeout; default: 0, it stops at once"
        ),
    ]

    mutating func readCache() -> NodeSettings.Cache {
        let copies = count("cache.copies", default: 2)
        if !(1...3).contains(copies) { complain("cache.copies", "must be 1, 2 or 3") }
        let redis = scalar("cache.redis")
        if let redis, !redis.text.hasPrefix("redis://"), !redis.text.hasPrefix("rediss://") {
            // The text may hold a password.
            complain("cache.redis", "is not a redis:// or rediss:// URL (\(redis.origin))")
        }
        let grace = duration("cache.garbage_after", default: .seconds(24 * 3600))
        if grace < .seconds(3600), !flag("development") {
            complain("cache.garbage_after", "must be at least 1h, longer than the longest store takes")
        }
        let demoteAfter = duration("cache.demote_after", default: .seconds(30 * 86400))
        if demoteAfter < .seconds(2 * 3600), !flag("development") {
            complain("cache.demote_after", "must be at least 2h: uses are noted once an hour")
        }
        let scrub = count("cache.scrub", default: 1, atLeast: 0)
        if scrub > 100 { complain("cache.scrub", "must be 0 to 100") }
        let syncInterval = duration("cache.sync_interval", default: .seconds(3600), canBeZero: true)
        if syncInterval > .zero, syncInterval < .seconds(60), !flag("development") {
            complain("cache.sync_interval", "must be 0 or at least 1m")
        }
        let weight = count("cache.weight", default: 100, atLeast: 0)
        if weight > 1_000_000 { complain("cache.weight", "must be 0 to 1000000") }
        let moveRate = bytes("cache.move_rate", default: 0, atLeast: 0)
        if moveRate != 0, moveRate < 64 << 10 { complain("cache.move_rate", "must be at least 64KiB") }
        return NodeSettings.Cache(
            isEnabled: flag("cache.enabled", default: true),
            memoryBytes: bytes("cache.memory", default: 256 << 20, atLeast: 1 << 20),
            policy: readPolicy(), copies: copies, directory: scalar("cache.directory")?.text,
            usesCatalog: flag("cache.catalog", default: true), demoteAfter: demoteAfter,
            demoteBytesPerSecond: bytes("cache.demote_rate", default: 8 << 20, atLeast: 64 << 10), redis: redis?.text,
            archive: readArchive(), garbageAfter: grace,
            scrubPercent: scrub, syncInterval: syncInterval,
            warmBytesPerSecond: bytes("cache.warm_rate", default: 32 << 20, atLeast: 64 << 10),
            trace: scalar("cache.trace")?.text, traceSampling: readTraceSampling(),
            weight: weight, moveBytesPerSecond: moveRate == 0 ? nil : moveRate,
            drainTime: duration("cache.drain_time", default: .zero, canBeZero: true),
            redisDoor: readRedisDoor())
    }

    private mutating func readArchive() -> NodeSettings.Archive? {
        let directory = scalar("cache.archive.directory")
        let keys = Self.cacheKeys.map(\.name).filter { $0.hasPrefix("cache.archive.s3.") }
        guard keys.contains(where: { scalar($0) != nil }) else { return directory.map { .directory($0.text) } }
        if let directory {
            complain(
                "cache.archive.directory",
                "and cache.archive.s3 are both set (\(directory.origin)); a cluster has one archive")
        }
        return readS3().map { .s3($0) }
    }

    private mutating func readS3() -> NodeSettings.S3? {
        func needed(_ name: String, _ reader: inout SettingsReader) -> Scalar? {
            let key = "cache.archive.s3.\(name)"
            if let scalar = reader.scalar(key), !scalar.text.isEmpty { return scalar }
            reader.complain(key, "is missing; an archive in S3 needs endpoint, bucket, access_key and secret_key_file")
            return nil
        }
        let written = needed("endpoint", &self)
        let bucket = needed("bucket", &self)
        let accessKey = needed("access_key", &self)
        let secretKeyFile = needed("secret_key_file", &self)
        let region = scalar("cache.archive.s3.region")
        let prefix = scalar("cache.archive.s3.prefix")
        let isPathStyle = flag("cache.archive.s3.path_style", default: true)
        let isInsecure = flag("cache.archive.s3.insecure")
        let endpoint = written.flatMap { S3Endpoint($0.text) }
        if let written, endpoint == nil {
            complain(
                "cache.archive.s3.endpoint",
                "'\(written.text)' is not https://host[:port] without a path (\(written.origin))")
        }
        if let prefix, ObjectKey(prefix.text) == nil {
            complain(
                "cache.archive.s3.prefix",
                "'\(prefix.text)' is not a path of letters, digits, '-', '_' and '.' without a slash at an end "
                    + "(\(prefix.origin))")
        }
        guard let endpoint, let bucket, let accessKey, let secretKeyFile else { return nil }
        let settings = NodeSettings.S3(
            endpoint: endpoint, bucket: bucket.text, region: region?.text ?? "us-east-1",
            prefix: prefix.flatMap { ObjectKey($0.text) }, accessKey: accessKey.text,
            secretKeyFile: secretKeyFile.text, sessionTokenFile: scalar("cache.archive.s3.session_token_file")?.text,
            authorityFile: scalar("cache.archive.s3.ca_file")?.text, isPathStyle: isPathStyle, isInsecure: isInsecure)
        if let problem = settings.store(secretKey: "", sessionToken: nil).problem {
            complain("cache.archive.s3", "\(problem)")
        }
        return settings
    }

    private mutating func readTraceSampling() -> Int {
        let sampling = count("cache.trace_sampling", default: 1)
        if !(1...1_000_000).contains(sampling) { complain("cache.trace_sampling", "must be 1 to 1000000") }
        return sampling
    }

    private mutating func readPolicy() -> String {
        guard let scalar = scalar("cache.policy") else { return EvictionPolicy.s3fifo.description }
        if ScorerRegistry.policy(named: scalar.text) == nil {
            let names = ScorerRegistry.names.joined(separator: ", ")
            complain("cache.policy", "'\(scalar.text)' is none of \(names) (\(scalar.origin))")
        }
        return scalar.text
    }
}
