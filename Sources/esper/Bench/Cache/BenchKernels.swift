import ArgumentParser
import CacheCore
import EsperClient

/// Names and contents that the benchmarks of the cache store and find again: the same in every run.
struct BenchKernels: ParsableArguments {
    @Option(help: "How many kernels.")
    var names = 10_000

    @Option(help: "Bytes of each.")
    var valueBytes = 2048

    @Option(help: "How their names begin.")
    var prefix = "bench/"

    func validate() throws {
        guard (1...100_000_000).contains(names) else { throw ValidationError("--names takes 1 to 100000000") }
        guard (1...64 << 20).contains(valueBytes) else { throw ValidationError("--value-bytes takes 1 to 67108864") }
    }

    func name(_ number: Int) -> ArtifactName { ArtifactName("\(prefix)kernel-\(number)") }

    /// Of no kernel alike, and nothing that compresses.
    func content(_ number: Int) -> [UInt8] {
        var random = SplitMix64(seed: UInt64(number) + 1)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(valueBytes + 8)
        while bytes.count < valueBytes {
            withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) }
        }
        bytes.removeLast(bytes.count - valueBytes)
        return bytes
    }
}

/// One client for each of a cluster's endpoints, which stays there.
struct PinnedClients: Sendable {
    private(set) var clients: [EsperClient] = []

    init(_ settings: ClientSettings, timeout: Duration) throws {
        var options = Connecting.options(timeout: timeout)
        options.followsLeader = false
        options.label = "bench"
        for endpoint in settings.endpoints {
            var own = settings
            own.endpoints = [endpoint]
            clients.append(try EsperClient(own, options: options))
        }
    }

    func close() { for client in clients { client.close() } }

    /// Hits of all nodes by tier; a node that does not answer counts as none.
    func hits() async -> [CacheTier: UInt64] {
        var hits: [CacheTier: UInt64] = [:]
        for client in clients {
            guard let stat = try? await client.cache.stat() else { continue }
            for hit in stat.hits { hits[hit.tier, default: 0] += hit.count }
        }
        return hits
    }
}

/// What reads or stores came to within some time.
struct CacheTally: Sendable {
    var latency = Histogram()
    /// Of what was found, by the farthest place that any of it came from.
    var latencyByTier: [CacheTier: Histogram] = [:]
    var found: UInt64 = 0
    var absent: UInt64 = 0
    /// By reason.
    var failures: [String: UInt64] = [:]

    var failed: UInt64 { failures.values.reduce(0, +) }
    var count: UInt64 { found + absent + failed }

    mutating func merge(_ other: CacheTally) {
        latency.merge(other.latency)
        for (tier, histogram) in other.latencyByTier { latencyByTier[tier, default: Histogram()].merge(histogram) }
        found += other.found
        absent += other.absent
        failures.merge(other.failures, uniquingKeysWith: +)
    }

    mutating func add(_ result: Result<Retrieved<Artifact>, EsperError>, nanoseconds: UInt64) {
        switch result {
        case .failure(let error):
            failed(error)
            return
        case .success(.found(let artifact)):
            found += 1
            if let tier = artifact.header.tier {
                latencyByTier[tier, default: Histogram()].record(nanoseconds: nanoseconds)
            }
        case .success(.absent), .success(.notModified): absent += 1
        }
        latency.record(nanoseconds: nanoseconds)
    }

    mutating func failed(_ error: EsperError) { failures[error.code, default: 0] += 1 }

    var json: JSON {
        .fields([
            "found": .unsigned(found), "absent": .unsigned(absent), "failed": .unsigned(failed),
            "failures": .object(
                failures.sorted { $0.key < $1.key }.map { JSON.Field(name: $0.key, value: .unsigned($0.value)) }),
            "latency": latency.json,
            "latency_by_tier": .object(
                latencyByTier.sorted { $0.key < $1.key }.map { JSON.Field(name: $0.key.name, value: $0.value.json) }),
        ])
    }

    var text: String {
        var text = "\(found) found, \(absent) absent, \(failed) failed; \(latency.text)"
        if failed > 0 {
            text += " (\(failures.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")))"
        }
        for (tier, histogram) in latencyByTier.sorted(by: { $0.key < $1.key }) {
            text += "\n  from \(tier.name): \(histogram.count), \(histogram.text)"
        }
        return text
    }
}

extension [CacheTier: UInt64] {
    /// What has been added since.
    func since(_ before: Self) -> Self {
        var added: Self = [:]
        for (tier, count) in self {
            // A node that started anew counts from nothing.
            let more = count > before[tier, default: 0] ? count - before[tier, default: 0] : 0
            if more > 0 { added[tier] = more }
        }
        return added
    }

    var json: JSON {
        .object(sorted { $0.key < $1.key }.map { JSON.Field(name: $0.key.name, value: .unsigned($0.value)) })
    }

    var text: String { sorted { $0.key < $1.key }.map { "\($0.key.name) \($0.value)" }.joined(separator: ", ") }
}
