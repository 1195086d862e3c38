import CacheCore
import EsperTypes
import Logging
import RaftRuntime

/// What was most worth having in memory when a node ended is there again soon after it starts.
extension CacheService {
    /// The share of the memory that is filled at a start; the rest is for what is asked for meanwhile.
    private static let share: UInt64 = 90

    func keepHotList() async {
        let (memory, count) = (memory, options.hotListEntries)
        await disk?.keep { memory.hottest(count, fade: true) }
    }

    /// The most worthy first, from this node's disk or whoever has them, no faster than warming may be.
    func bringBackHotList() async {
        guard let entries = await disk?.hotList()?.entries, !entries.isEmpty else { return }
        // Until then nobody can be asked for what this disk has not.
        while placements.members.isEmpty {
            guard (try? await Task.sleep(for: .milliseconds(50))) != nil else { return }
        }
        let (start, room) = (NodeClock.now(), memory.limitBytes / 100 * Self.share)
        var (rest, bytes) = (entries[...], UInt64(0))
        while let worth = rest.first?.weight, bytes < room, !Task.isCancelled {
            let wanted = rest.prefix(64).map(\.digest).filter { !memory.contains($0) }
            rest = rest.dropFirst(64)
            let loaded = await loader.load(
                wanted, costMilliseconds: UInt32(clamping: worth), deadline: NodeClock.now() + .seconds(5))
            bytes += loaded.found.values.reduce(0) { $0 + UInt64($1.bytes.count) }
            let due = start + .nanoseconds(Int64(Double(bytes) / Double(max(1, options.warmBytesPerSecond)) * 1e9))
            let pause = due - NodeClock.now()
            // Cancelled: the loop ends.
            if pause > .zero { try? await Task.sleep(for: pause) }
        }
        counters.warmedBytes.add(bytes)
        logger.info(
            "what was in memory before the start is there again",
            metadata: ["bytes": "\(bytes)", "time": "\((NodeClock.now() - start).written)"])
    }
}
