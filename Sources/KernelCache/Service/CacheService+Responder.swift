public import CacheCore
public import EsperTypes
import RaftRuntime
import Synchronization

/// What this node answers its peers, and itself.
extension CacheService {
    public func memoryBlob(_ digest: Digest) -> [UInt8]? { memory.get(digest) }

    public func diskBlobs(_ digests: [Digest], deadline: Instant) async -> [Digest: [UInt8]] {
        await disk?.get(digests) ?? [:]
    }

    public func take(_ blobs: [Blob], isSynced: Bool, deadline: Instant) async throws(PeerFailure) {
        for blob in blobs {
            loader.overtake(blob.digest)
            memory.put(blob.bytes, under: blob.digest)
        }
        let now = NodeClock.now()
        state.withLock { _ = $0.holds.hold(blobs.map(\.digest), until: now + options.addHold, now: now) }
        if isSynced {
            guard let disk else { throw PeerFailure("this node keeps no blobs on its disk") }
            try await disk.put(blobs, isSynced: true)
        } else if let disk, tier(.catalog) == nil, tier(.archive) == nil {
            background.start {
                // Best effort: nobody was told that it is there.
                try? await disk.put(blobs, isSynced: false)
            }
        } else if blobs.contains(where: { !memory.contains($0.digest) }) {
            throw PeerFailure("the memory does not take it")
        }
    }

    /// What is there stays there for the time of a store. On disk means synced.
    public func holdings(_ digests: [Digest], deadline: Instant) async -> PeerHoldings {
        let now = NodeClock.now()
        state.withLock { _ = $0.holds.hold(digests, until: now + options.addHold, now: now) }
        var held = PeerHoldings(memory: Set(digests.filter { memory.contains($0) }))
        guard let disk else { return held }
        let there = disk.touch(digests)
        held.disk = disk.synced(Array(there))
        let unsynced = there.subtracting(held.disk)
        if !unsynced.isEmpty {
            // Written by an earlier process, or without waiting: made sure of now.
            let bytes = await disk.get(Array(unsynced))
            let blobs = bytes.map { Blob(digest: $0.key, bytes: $0.value) }
            if (try? await disk.put(blobs, isSynced: true)) != nil { held.disk.formUnion(bytes.keys) }
        }
        return held
    }

    public func digests(of shard: ShardID) async -> [BlobReference] {
        disk?.entries(of: shard).map { BlobReference(digest: $0.digest, size: $0.size) } ?? []
    }

    public func summaries() async -> [ShardSummary] {
        var sums: [ShardID: ShardSummary] = [:]
        for entry in disk?.entries() ?? [] {
            let shard = ShardID(of: entry.digest)
            var sum = sums[shard] ?? ShardSummary(shard: shard)
            sum.add(entry.digest)
            sums[shard] = sum
        }
        return sums.values.sorted { $0.shard < $1.shard }
    }

    public func hottest(_ count: Int) -> [[UInt8]] { [] }

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
