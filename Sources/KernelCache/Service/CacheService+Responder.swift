public import CacheCore
public import EsperTypes
import RaftRuntime
import Synchronization

/// What this node answers its peers, and itself.
extension CacheService {
    public var isStrained: Bool { rebalancer.isStrained.load(ordering: .relaxed) }

    public func memoryBlob(_ digest: Digest, isUse: Bool) -> [UInt8]? {
        isUse ? memory.get(digest) : memory.peek(digest)
    }

    public func diskBlobs(
        _ digests: [Digest], deadline: Instant
    ) async throws(PeerFailure) -> [Digest: [UInt8]] {
        try await disk?.get(digests, deadline: deadline) ?? [:]
    }

    /// As a member of the shards with an epoch: so before it is kept, and still so when it is. What comes to know the shard at the next
    /// epoch looks after that, and finds it.
    public func take(
        _ blobs: [Blob], at epochs: [ShardID: ShardEpoch], keeping: BlobKeeping, deadline: Instant
    ) async throws(PeerFailure) {
        try checkWriter(at: epochs)
        try await keep(blobs, keeping, deadline)
        try checkWriter(at: epochs)
    }

    private func checkWriter(at epochs: [ShardID: ShardEpoch]) throws(PeerFailure) {
        guard placements.isWriter(at: epochs, now: NodeClock.now()) else {
            counters.staleEpoch.add()
            throw PeerFailure("this node knows a shard at another epoch, or has no lease", isStale: true)
        }
    }

    private func keep(_ blobs: [Blob], _ keeping: BlobKeeping, _ deadline: Instant) async throws(PeerFailure) {
        for blob in blobs {
            loader.overtake(blob.digest)
            memory.put(blob.bytes, under: blob.digest)
        }
        if keeping != .inMemory, let disk {
            return try await disk.put(blobs, isSynced: keeping == .synced, deadline: deadline)
        }
        guard keeping != .synced else { throw PeerFailure("this node keeps no blobs on its disk") }
        guard blobs.allSatisfy({ memory.contains($0.digest) }) else { throw PeerFailure("the memory does not take it") }
    }

    /// What is there stays there for the time of a store. On disk means synced; what only memory has may go at any time, and counts
    /// where there is no disk.
    public func holdings(
        _ digests: [Digest], epochs: [ShardID: ShardEpoch], deadline: Instant
    ) async -> PeerHoldings {
        let now = NodeClock.now()
        let digests = digests.filter { digest in
            let shard = ShardID(of: digest)
            return epochs[shard].map { placements.isWriter(at: [shard: $0], now: now) } ?? true
        }
        guard let disk else { return PeerHoldings(memory: Set(digests.filter(memory.contains))) }
        return PeerHoldings(disk: await disk.secure(Array(disk.touch(digests)), deadline: deadline))
    }

    public func look(for digests: [Digest]) -> PeerHoldings {
        PeerHoldings(
            memory: Set(digests.filter(memory.contains)), disk: Set(digests.filter { disk?.has($0) ?? false }))
    }

    public func digests(of shard: ShardID, _ claim: ShardClaim?) async -> ShardAnswer<[BlobReference]> {
        rebalancer.digests(of: shard, claim)
    }

    public func compare(_ question: ShardQuestion) async -> ShardAnswer<ShardParts> { rebalancer.compare(question) }

    public func report(_ report: PeerReport, from name: String) -> PeerReportReply? {
        placements.id(of: name).flatMap { rebalancer.take(report, from: $0) }
    }

    public func progress() -> MoveProgress { rebalancer.progress() }

    public func summaries() async -> [ShardSummary] {
        var sums: [ShardID: ShardSummary] = [:]
        for entry in disk?.entries() ?? [] {
            let shard = ShardID(of: entry.digest)
            var sum = sums[shard] ?? ShardSummary(shard: shard)
            sum.add(entry.digest)
            sum.bytes += UInt64(entry.size)
            sums[shard] = sum
        }
        return sums.values.sorted { $0.shard < $1.shard }
    }

    public func hottest(_ count: Int) -> HotList { memory.hottest(count) }

    public func isMember(_ name: String) -> Bool { placements.isMember(name) }
}

extension ShardSummary {
    /// Digests are SHA-256 and so random; their sums are equal for different sets by chance of 2⁻¹²⁸ alone.
    mutating func add(_ digest: Digest) {
        let bytes = digest.bytes
        count += 1
        high = high &+ digest.prefix
        low = low &+ bytes[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    }
}
