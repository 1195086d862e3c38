import CacheCore
import EsperTypes
import Logging
import RaftRuntime

/// Reading again what nobody reads, so that damage is found while there is another copy.
///
/// A hand goes round the space of digests, by ``CacheOptions/scrubShare`` of it a day. What lies under it is hashed: in this node's memory
/// and on its disk, and in the catalog and the archive of the shards that this node coordinates. Wrong copies go, are counted,
/// and are made anew from another place.
extension CacheService {
    /// Once: the part of the space that belongs to the time since the last one.
    ///
    /// - Parameter range: prefixes of digests.
    package func scrub(_ range: Range<UInt64>) async {
        let spoilt = memory.scrub(range)
        counters.corrupt(.memory).add(UInt64(spoilt.count))
        if !spoilt.isEmpty { tell(spoilt, "memory") }
        await scrubDisk(range)
        for tier in outer where tier.tier != .redis {
            do throws(TierFailure) {
                try await scrub(tier, range)
            } catch {
                logger.debug(
                    "a tier is not scrubbed now", metadata: ["cache.tier": "\(tier.tier.name)", "error": "\(error)"])
            }
        }
    }

    /// Until the task is cancelled.
    func keepScrubbing() async {
        let share = options.scrubShare
        guard share > 0 else { return }
        let part = share * (options.scrubInterval / .seconds(86_400))
        let length = UInt64(min(part, 0.5) * 0x1p64)
        var random = SplitMix64(seed: options.seed)
        var hand = random.next()
        while true {
            // Cancelled: the loop ends.
            try? await Task.sleep(for: options.scrubInterval)
            if Task.isCancelled { return }
            let end = hand.addingReportingOverflow(length)
            await scrub(hand..<(end.overflow ? .max : end.partialValue))
            if end.overflow { await scrub(0..<end.partialValue) }
            hand = end.partialValue
        }
    }

    private func scrubDisk(_ range: Range<UInt64>) async {
        guard let disk else { return }
        for shard in shards(of: range) {
            let there = disk.entries(of: shard).map(\.digest).filter { range.contains($0.prefix) }
            for start in stride(from: 0, to: there.count, by: Self.scrubbedAtOnce) {
                let part = Array(there[start..<min(start + Self.scrubbedAtOnce, there.count)])
                // What cannot be read now is read at another time; what is damaged is removed by the reading.
                guard let damaged = try? await disk.scrub(part), !damaged.isEmpty else { continue }
                tell(damaged, "disk")
                let again = await fetched(damaged)
                // Without room it is missing, and found elsewhere.
                try? await disk.put(again, isSynced: true)
            }
        }
    }

    private static let scrubbedAtOnce = 16

    private func scrub(_ tier: any BlobTier, _ range: Range<UInt64>) async throws(TierFailure) {
        try await walk(tier, idleFor: .zero, pause: .zero, from: range.lowerBound) { page in
            for start in stride(from: 0, to: page.count, by: Self.scrubbedAtOnce) {
                let part = page[start..<min(start + Self.scrubbedAtOnce, page.count)].map(\.digest)
                let own = part.filter { range.contains($0.prefix) && coordinates(ShardID(of: $0)) }
                if own.isEmpty { continue }
                do throws(TierFailure) {
                    let limit = NodeClock.now() + .seconds(30)
                    let found = try await tier.peek(own, deadline: limit)
                    let damaged = own.filter { digest in
                        found[digest].map { Digest(hashing: $0) != digest } ?? false
                    }
                    if damaged.isEmpty { continue }
                    counters.corrupt(tier.tier).add(UInt64(damaged.count))
                    tell(damaged, tier.tier.name)
                    try await tier.discard(damaged: damaged, deadline: limit)
                    try await tier.put(await fetched(damaged), deadline: limit)
                } catch {
                    // The hand comes again; whoever reads it before finds the damage himself.
                    return false
                }
            }
            return page.last.map { range.contains($0.digest.prefix) } ?? false
        }
    }

    private func fetched(_ digests: [Digest]) async -> [Blob] {
        await loader.peek(digests, deadline: NodeClock.now() + options.loadLimit).found
            .map { Blob(digest: $0.key, bytes: $0.value.bytes) }
    }

    private func shards(of range: Range<UInt64>) -> [ShardID] {
        guard !range.isEmpty else { return [] }
        return (range.lowerBound >> 54...(range.upperBound - 1) >> 54).compactMap { ShardID(Int($0)) }
    }

    private func tell(_ damaged: [Digest], _ place: String) {
        logger.error(
            "copies have changed; they are made anew from another place",
            metadata: ["cache.tier": "\(place)", "count": "\(damaged.count)", "digest": "\(damaged[0])"])
    }
}
