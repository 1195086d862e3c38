import CacheCore
import EsperTypes
import RaftRuntime
import Synchronization

/// Warming and telling.
extension CacheService {
    // MARK: Warming

    public func warm(_ request: WarmRequest) async throws(CacheFailure) -> WarmReply {
        try Self.checkTime(request.deadline)
        switch request.subject {
        case .hottest(let count):
            return told(
                await bring(
                    await hottestAnywhere(count, deadline: request.deadline), maximumBytes: request.maximumBytes,
                    bytesPerSecond: rate(of: request), deadline: request.deadline))
        case .names(let names): return told(await warm(names, request))
        case .lineage(let lineage):
            let names = try await bindings(request).filter { $0.binding.lineage == lineage }.map(\.name)
            return told(await warm(names, request))
        }
    }

    private func rate(of request: WarmRequest) -> UInt64 {
        max(1, request.bytesPerSecond ?? options.warmBytesPerSecond)
    }

    private func warm(_ names: [[UInt8]], _ request: WarmRequest) async -> WarmReply {
        var reply = WarmReply()
        let (start, rate) = (NodeClock.now(), rate(of: request))
        for name in names {
            guard NodeClock.now() < request.deadline, reply.bytes < request.maximumBytes else { break }
            await warm(name, request, &reply)
            // As long as the bytes so far may take, less what they took.
            let due = start + .nanoseconds(Int64(Double(reply.bytes) / Double(rate) * 1e9))
            let pause = min(due, request.deadline) - NodeClock.now()
            if pause > .zero { try? await Task.sleep(for: pause) }
            if Task.isCancelled { break }
        }
        return reply
    }

    /// With what was ever warmed here.
    private func told(_ reply: WarmReply) -> WarmReply {
        var reply = reply
        reply.warmedBytes = counters.warmedBytes.current
        reply.warmedHits = counters.warmedHits.current
        return reply
    }

    private func bindings(_ request: WarmRequest) async throws(CacheFailure) -> [(name: [UInt8], binding: Binding)] {
        var found: [(name: [UInt8], binding: Binding)] = []
        var after: [UInt8]?
        while true {
            let page = try await names.list(
                prefix: [], after: after, limit: 1000, principal: request.principal, deadline: request.deadline)
            found += page.bindings
            guard page.more, let last = page.bindings.last?.name else { return found }
            after = last
        }
    }

    private func warm(_ name: [UInt8], _ request: WarmRequest, _ reply: inout WarmReply) async {
        guard
            let binding = try? await names.look(name, principal: request.principal, deadline: request.deadline),
            binding.state == .live
        else {
            reply.missing += 1
            return
        }
        let before = (blobs: reply.blobs, bytes: reply.bytes)
        guard let encoded = await load([binding.manifest], binding, request.deadline, &reply)?.first,
            let manifest = try? Manifest(decoding: encoded),
            await loadAll(Set(manifest.blobs), binding, request.deadline, &reply)
        else {
            noteWarmed([], bytes: reply.bytes - before.bytes)
            reply.missing += 1
            return
        }
        if reply.blobs == before.blobs {
            reply.present += 1
        } else {
            noteWarmed([binding.manifest], bytes: reply.bytes - before.bytes)
            reply.artifacts += 1
        }
    }

    /// In parts, so that a large artifact takes no more memory than a small one while it is on its way.
    private func loadAll(
        _ blobs: Set<BlobReference>, _ binding: Binding, _ deadline: Instant, _ reply: inout WarmReply
    ) async -> Bool {
        for part in parts(of: blobs) {
            guard await load(part, binding, deadline, &reply) != nil else { return false }
        }
        return true
    }

    /// Each of some ``CacheOptions/prefetchBytes``, by what is said of their sizes, and of no more blobs than that takes when it is wrong.
    func parts(of blobs: Set<BlobReference>) -> [[Digest]] {
        var (parts, bytes): ([[Digest]], UInt64) = ([], 0)
        for blob in blobs {
            if parts.isEmpty || bytes >= options.prefetchBytes || parts[parts.count - 1].count == Self.blobsInPart {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(blob.digest)
            bytes += UInt64(blob.size)
        }
        return parts
    }

    private static let blobsInPart = 64

    private func load(
        _ digests: [Digest], _ binding: Binding, _ deadline: Instant, _ reply: inout WarmReply
    ) async -> [[UInt8]]? {
        let result = await loadWhenCalm(digests, .all(binding.costMilliseconds), deadline)
        for blob in result.found.values where blob.tier != .memory {
            reply.blobs += 1
            reply.bytes += UInt64(blob.bytes.count)
        }
        return result.lost.isEmpty && result.unreached.isEmpty ? digests.compactMap { result.found[$0]?.bytes } : nil
    }

    /// As long as there are as many loads as may be, others come first.
    func loadWhenCalm(_ digests: [Digest], _ costs: LoadCosts, _ deadline: Instant) async -> LoadResult {
        while true {
            let result = await loader.load(digests, costs: costs, deadline: deadline)
            guard !result.refused.isEmpty, NodeClock.now() < deadline, !Task.isCancelled else { return result }
            // Cancelled: the next result is told.
            try? await Task.sleep(for: Self.calmPause)
        }
    }

    private static let calmPause: Duration = .milliseconds(50)

    // MARK: Telling

    public func stat(_ request: StatRequest) async throws(CacheFailure) -> StatReply {
        let statistics = statistics()
        guard let name = request.name else { return StatReply(statistics: statistics) }
        try Self.check(name)
        guard let binding = try await names.look(name, principal: request.principal, deadline: request.deadline) else {
            return StatReply(statistics: statistics)
        }
        let loaded = await loader.load([binding.manifest], deadline: request.deadline)
        if !loaded.refused.isEmpty { throw .tooManyLoads }
        let manifest = loaded.found[binding.manifest].flatMap { try? Manifest(decoding: $0.bytes) }
        let digests = [binding.manifest] + Set(manifest?.blobs.map(\.digest) ?? []).subtracting([binding.manifest])
        let (holdings, _) = await locate(digests, counts: false, deadline: request.deadline)
        var held: [CacheTier: Int] = [:]
        for digest in digests {
            let holding = holdings[digest] ?? BlobHolding()
            if holding.memory.contains(names.nodeID) { held[.memory, default: 0] += 1 }
            if !holding.synced.isEmpty || !holding.memory.subtracting([names.nodeID]).isEmpty {
                held[.peer, default: 0] += 1
            }
            for tier in holding.tiers.tiers { held[tier, default: 0] += 1 }
        }
        return StatReply(
            statistics: statistics,
            artifact: ArtifactStatus(binding: binding, manifest: manifest, blobs: digests.count, held: held))
    }

    private func statistics() -> CacheStatistics {
        var statistics = CacheStatistics()
        statistics.node = options.node
        for tier in CacheTier.allCases {
            var reads = CacheStatistics.Reads()
            reads.count = counters[tier].count.current
            reads.bytes = counters[tier].bytes.current
            reads.costMilliseconds = counters[tier].cost.current
            statistics.hits[tier] = reads
        }
        statistics.absent = counters.absent.current
        statistics.lost = counters.lost.current
        statistics.unreached = counters.unreached.current
        statistics.coalesced = counters.coalesced.current
        statistics.localHits = counters.localHits.current
        statistics.leaseRefusals = counters.leaseRefusals.current
        statistics.stores = counters.stores.current
        statistics.storesLost = counters.storesLost.current
        statistics.evictions = counters.evictions.current
        statistics.closureFailures = counters.closureFailures.current
        statistics.quarantined = counters.quarantined.current
        let memory = memory.stat()
        statistics.memory.policy = "\(self.memory.options.policy)"
        statistics.memory.entries = memory.entries
        statistics.memory.bytes = memory.accountedBytes
        statistics.memory.limitBytes = memory.limitBytes
        statistics.memory.ghostHits = memory.ghostHits
        statistics.tiers = outer.compactMap { ($0 as? GuardedTier)?.statistics }
        statistics.peers = peers.statistics
        let load = loader.load
        statistics.loads = load.loads
        statistics.waiters = load.waiters + making.waiterCount
        state.withLock { state in
            statistics.tokens = state.tokens.count
            statistics.tokensGranted = state.tokens.granted
            statistics.tokensExpired = state.tokens.expired
        }
        if let disk { (statistics.diskBlobs, statistics.diskBytes) = disk.size }
        statistics.mapEpoch = placements.epoch
        statistics.shardsOwned = placements.ownedCount
        statistics.staleEpochRefusals = counters.staleEpoch.current
        statistics.garbageBlobs = counters.garbageBlobs.current
        statistics.garbageBytes = counters.garbageBytes.current
        statistics.warmedBytes = counters.warmedBytes.current
        statistics.warmedHits = counters.warmedHits.current
        statistics.syncDifferences = counters.syncDifferences.current
        return statistics
    }
}
