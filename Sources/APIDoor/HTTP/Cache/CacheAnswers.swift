internal import CacheCore
internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import KernelCache

/// Values of the cache as JSON, and the words of requests as values.
enum CacheAnswers {
    static func binding(_ binding: Binding) -> JSONValue {
        .object([
            "kind": .text("\(binding.kind)"), "state": .text("\(binding.state)"),
            "manifest": .text(binding.manifest.description), "version": .unsigned(binding.version.rawValue),
            "cost_ms": .unsigned(UInt64(binding.costMilliseconds)), "size": .unsigned(binding.size),
            "tiers": tiers(binding.tiers), "lineage": binding.lineage.map { .text($0.description) } ?? .null,
            "expires_unix_ms": .unsigned(binding.expires / 1_000_000),
        ])
    }

    static func binding(_ value: Binding?) -> JSONValue { value.map { binding($0) } ?? .null }

    static func tiers(_ tiers: TierSet) -> JSONValue { .list(tiers.tiers.map { .text($0.name) }) }

    static func stored(_ reply: StoreReply) -> [JSONValue.Member] {
        [
            .init("outcome", .text(Outcome.committed.rawValue)), .init("stored", .boolean(reply.isStored)),
            .init("tiers", tiers(reply.tiers)), .init("binding", binding(reply.binding)),
        ]
    }

    static func evicted(_ reply: EvictReply) -> [JSONValue.Member] {
        [
            .init("outcome", .text(Outcome.committed.rawValue)), .init("previous", binding(reply.previous)),
            .init("copies", .unsigned(UInt64(clamping: reply.copies))), .init("bytes", .unsigned(reply.bytes)),
        ]
    }

    static func file(_ file: Manifest.File) -> [JSONValue.Member] {
        [.init("name", .text(file.name)), .init("size", .unsigned(file.size))]
    }

    /// Everything of the statistics that is one number.
    private static func numbers(_ statistics: CacheStatistics) -> KeyValuePairs<String, UInt64> {
        [
            "absent": statistics.absent, "lost": statistics.lost, "coalesced": statistics.coalesced,
            "local_hits": statistics.localHits, "lease_refusals": statistics.leaseRefusals,
            "stores": statistics.stores, "stores_lost": statistics.storesLost, "evictions": statistics.evictions,
            "closure_failures": statistics.closureFailures, "quarantined": statistics.quarantined,
            "memory_entries": UInt64(clamping: statistics.memory.entries), "memory_bytes": statistics.memory.bytes,
            "memory_limit_bytes": statistics.memory.limitBytes, "memory_evictions": statistics.memory.evictions,
            "memory_ghost_hits": statistics.memory.ghostHits, "loads": UInt64(clamping: statistics.loads),
            "waiters": UInt64(clamping: statistics.waiters), "tokens": UInt64(clamping: statistics.tokens),
            "tokens_granted": statistics.tokensGranted, "tokens_expired": statistics.tokensExpired,
            "disk_blobs": statistics.diskBlobs, "disk_bytes": statistics.diskBytes,
            "map_epoch": statistics.mapEpoch, "shards_owned": UInt64(clamping: statistics.shardsOwned),
            "stale_epoch_refusals": statistics.staleEpochRefusals, "garbage_blobs": statistics.garbageBlobs,
            "garbage_bytes": statistics.garbageBytes, "warmed_bytes": statistics.warmedBytes,
            "warmed_hits": statistics.warmedHits, "sync_differences": statistics.syncDifferences,
        ]
    }

    /// What a route that answers with ``statistics(_:)`` says about it.
    static let statisticsFields: [Field] =
        [
            Field("node", .text, isRequired: true, "Who answers."),
            Field("policy", .text, isRequired: true, "How memory decides what it gives up."),
        ] + numbers(CacheStatistics()).map { Field($0.key, .unsigned, isRequired: true, "See docs/CACHE.md.") } + [
            Field(
                "hits",
                .list(
                    .object([
                        Field("tier", .text, isRequired: true, "Where they were found."),
                        Field("count", .unsigned, isRequired: true, "How many."),
                        Field("bytes", .unsigned, isRequired: true, "Their bytes."),
                        Field("cost_ms", .unsigned, isRequired: true, "What making them again would have taken."),
                    ])), isRequired: true, "Names that were found."),
            Field(
                "tiers",
                .list(
                    .object([
                        Field("tier", .text, isRequired: true, "The tier."),
                        Field(
                            "breaker", .text, isRequired: true,
                            "closed: it is used; open: it is left alone; half_open: one call tries whether it is back."),
                        Field("failures", .unsigned, isRequired: true, "Calls that failed or were refused."),
                        Field("corrupt", .unsigned, isRequired: true, "Blobs that did not hash to their name."),
                        Field("reason", .text, isRequired: true, "Why it fails; empty while closed."),
                        Field("hits", .unsigned, isRequired: true, "Blobs asked for and found."),
                        Field("hit_bytes", .unsigned, isRequired: true, "Their bytes."),
                        Field("misses", .unsigned, isRequired: true, "Blobs asked for and not found."),
                        Field("writes", .unsigned, isRequired: true, "Blobs given to it."),
                        Field("written_bytes", .unsigned, isRequired: true, "Their bytes."),
                    ])), isRequired: true, "Beyond the node's memory."),
        ]

    static func statistics(_ statistics: CacheStatistics) -> [JSONValue.Member] {
        return [.init("node", .text(statistics.node)), .init("policy", .text(statistics.memory.policy))]
            + numbers(statistics).map { .init($0.key, .unsigned($0.value)) } + [
                .init(
                    "hits",
                    .list(
                        statistics.hits.sorted { $0.key < $1.key }.map { tier, reads in
                            .object([
                                "tier": .text(tier.name), "count": .unsigned(reads.count),
                                "bytes": .unsigned(reads.bytes), "cost_ms": .unsigned(reads.costMilliseconds),
                            ])
                        })),
                .init(
                    "tiers",
                    .list(
                        statistics.tiers.map { tier in
                            .object([
                                "tier": .text(tier.tier.name), "breaker": .text(tier.breaker),
                                "failures": .unsigned(tier.failures), "corrupt": .unsigned(tier.corrupt),
                                "reason": .text(tier.reason), "hits": .unsigned(tier.hits),
                                "hit_bytes": .unsigned(tier.hitBytes), "misses": .unsigned(tier.misses),
                                "writes": .unsigned(tier.writes), "written_bytes": .unsigned(tier.writtenBytes),
                            ])
                        })),
            ]
    }

    // MARK: Words of requests

    static func kind(_ text: String?) throws(HTTPFailure) -> Binding.Kind {
        switch text {
        case nil, "action": return .action
        case "alias": return .alias
        default: throw .invalid("'kind' must be one of action, alias")
        }
    }

    static func mode(_ text: String?) throws(HTTPFailure) -> StoreMode {
        guard let text else { return .durable }
        guard let mode = StoreMode.allCases.first(where: { $0.name == text }) else {
            throw .invalid("'mode' must be one of \(StoreMode.allCases.map(\.name).joined(separator: ", "))")
        }
        return mode
    }

    static func digest(_ text: String?, _ name: String) throws(HTTPFailure) -> Digest? {
        guard let text else { return nil }
        guard let digest = Digest(text) else { throw .invalid("'\(name)' must be 64 hexadecimal digits") }
        return digest
    }
}

extension HTTPFailure {
    init(_ failure: CacheFailure) {
        self.init(
            status: .init(code: failure.code.httpStatus), code: failure.code.rawValue, message: failure.described,
            outcome: failure.outcome, isRetryable: failure.isRetryable)
    }
}
