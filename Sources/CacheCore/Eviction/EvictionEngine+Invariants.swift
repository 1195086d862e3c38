extension EvictionEngine {
    /// Walks all queues; for tests and simulations.
    ///
    /// Every entry stands in exactly one queue or the free list, links point back, and sums are those of the entries.
    package func checkInvariants() {
        var seen = 0
        for (number, queue) in queues.enumerated() {
            seen += check(queue) { position in
                if case .lfu = policy {
                    lfuCount(of: position) == number
                } else {
                    entries[position].queue == UInt8(number)
                }
            }
        }
        precondition(seen == count, "\(seen) entries are queued, \(count) are counted")
        precondition(queues.reduce(0) { $0 + $1.bytes } == bytes, "queues' bytes are not the engine's")
        let free = entries.indices.filter { entries[$0].queue == Entry.isFree }
        precondition(seen + free.count == entries.count, "an entry is nowhere, or twice")
        if case .sieve = policy, hand != Entry.none {
            precondition(entries[Int(hand)].queue == 0, "the hand points at what is not queued")
        }
        if case .s3fifo = policy { precondition(ghost.count <= max(1, entries.count), "ghosts outnumber entries") }
    }

    private func check(_ queue: Queue, _ belongs: (Int) -> Bool) -> Int {
        var count = 0
        var bytes: UInt64 = 0
        var newer = Entry.none
        var slot = queue.newest
        while slot != Entry.none {
            let entry = entries[Int(slot)]
            precondition(entry.newer == newer, "slot \(slot) does not point back")
            precondition(belongs(Int(slot)), "slot \(slot) stands in another queue")
            count += 1
            bytes += UInt64(entry.bytes)
            precondition(count <= entries.count, "a queue runs in circles")
            newer = slot
            slot = entry.older
        }
        precondition(queue.oldest == newer, "the oldest entry is not the last")
        precondition(queue.count == count && queue.bytes == bytes, "a queue's sums are not its entries'")
        return count
    }
}
