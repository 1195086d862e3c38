import CacheCore
import EsperTypes
import Logging
import RaftRuntime
import Synchronization

/// What is most worth having in memory: written down for the next start, and asked of others.
extension CacheService {
    /// The share of the memory that is filled at a start; the rest is for what is asked for meanwhile.
    private static let share: UInt64 = 90

    func keepHotList() async {
        let (memory, count) = (memory, options.hotListEntries)
        // A list that cannot be written is one that is missed at the next start, no more.
        try? await disk?.keep(.hot) { memory.hottest(count, fade: true).encoded() }
    }

    /// From this node's disk or whoever has it, no faster than warming may be.
    func bringBackHotList() async {
        guard let entries = await disk?.hotList()?.entries, !entries.isEmpty else { return }
        // Until then nobody can be asked for what this disk has not.
        while placements.members.isEmpty {
            guard (try? await Task.sleep(for: .milliseconds(50))) != nil else { return }
        }
        let start = NodeClock.now()
        let reply = await bring(
            entries, maximumBytes: memory.limitBytes / 100 * Self.share,
            bytesPerSecond: max(1, options.warmBytesPerSecond), deadline: .distantFuture)
        logger.info(
            "what was in memory before the start is there again",
            metadata: ["bytes": "\(reply.bytes)", "time": "\((NodeClock.now() - start).written)"])
    }

    /// By the uses of all nodes together; one that does not answer is left out.
    func hottestAnywhere(_ count: Int, deadline: Instant) async -> [HotList.Entry] {
        var sums: [Digest: HotList.Entry] = [:]
        func add(_ list: HotList) {
            for entry in list.entries {
                let before = sums[entry.digest]
                let (weight, overflow) = (before?.weight ?? 0).addingReportingOverflow(entry.weight)
                sums[entry.digest] = HotList.Entry(
                    digest: entry.digest, bytes: entry.bytes, weight: overflow ? .max : weight,
                    costMilliseconds: max(before?.costMilliseconds ?? 0, entry.costMilliseconds))
            }
        }
        add(memory.hottest(count))
        for node in placements.others {
            let limit = min(deadline, NodeClock.now() + .seconds(5))
            if let list = try? await peers.hottest(count, at: node, deadline: limit) { add(list) }
        }
        var hottest = HotList(limit: count)
        for entry in sums.values { hottest.insert(entry) }
        return hottest.entries
    }

    /// Warming has brought this.
    func noteWarmed(_ manifests: some Sequence<Digest>, bytes: UInt64) {
        counters.warmedBytes.add(bytes)
        state.withLock { state in
            if state.warmed.count > Self.maximumWarmed { state.warmed = [] }
            state.warmed.formUnion(manifests)
        }
    }

    private static let maximumWarmed = 65_536

    /// Somebody has found an artifact; the first use of what was warmed counts.
    func noteUse(of manifest: Digest) {
        guard counters.warmedBytes.current > 0 else { return }
        if state.withLock({ $0.warmed.remove(manifest) != nil }) { counters.warmedHits.add() }
    }

    /// The most worthy first, evenly at the rate.
    func bring(
        _ entries: [HotList.Entry], maximumBytes: UInt64, bytesPerSecond: UInt64, deadline: Instant
    ) async -> WarmReply {
        let start = NodeClock.now()
        var (rest, reply) = (entries[...], WarmReply())
        while !rest.isEmpty, reply.bytes < maximumBytes, NodeClock.now() < deadline, !Task.isCancelled {
            let part = rest.prefix(64)
            rest = rest.dropFirst(64)
            let wanted = part.map(\.digest).filter { !memory.contains($0) }
            let costs = LoadCosts.each(
                Dictionary(part.map { ($0.digest, $0.costMilliseconds) }, uniquingKeysWith: max))
            let loaded = await loadWhenCalm(wanted, costs, min(deadline, NodeClock.now() + .seconds(5)))
            reply.present += part.count - wanted.count
            reply.missing += wanted.count - loaded.found.count
            reply.blobs += loaded.found.count
            let bytes = loaded.found.values.reduce(0) { $0 + UInt64($1.bytes.count) }
            let manifests = loaded.found.filter { (try? Manifest(decoding: $0.value.bytes)) != nil }.keys
            reply.bytes += bytes
            reply.artifacts += manifests.count
            noteWarmed(manifests, bytes: bytes)
            let due = start + .nanoseconds(Int64(Double(reply.bytes) / Double(bytesPerSecond) * 1e9))
            let pause = min(due, deadline) - NodeClock.now()
            // Cancelled: the loop ends.
            if pause > .zero { try? await Task.sleep(for: pause) }
        }
        return reply
    }
}
