// How each policy finds its victim. All of them walk from the oldest entry, and stop when the budget is used up.

extension EvictionEngine {
    // MARK: FIFO and LRU

    mutating func first(_ budget: inout Int) -> Int32? {
        guard budget > 0 else { return nil }
        budget -= 1
        return queues[0].oldest
    }

    // MARK: CLOCK

    mutating func clockVictim(_ budget: inout Int) -> Int32? {
        while budget > 0 {
            budget -= 1
            let slot = queues[0].oldest
            guard entries[Int(slot)].uses > 0 else { return slot }
            entries[Int(slot)].uses = 0
            rotate(slot, in: 0)
        }
        return nil
    }

    mutating func rotate(_ slot: Int32, in queue: Int) {
        queues[queue].unlink(slot, &entries)
        queues[queue].push(slot, &entries)
    }

    // MARK: SIEVE

    mutating func sieveVictim(_ budget: inout Int) -> Int32? {
        while budget > 0 {
            budget -= 1
            let slot = hand == Entry.none ? queues[0].oldest : hand
            // Removal moves the hand on.
            hand = slot
            guard entries[Int(slot)].uses > 0 else { return slot }
            entries[Int(slot)].uses = 0
            hand = entries[Int(slot)].newer
        }
        return nil
    }

    // MARK: S3-FIFO

    mutating func s3fifoVictim(_ budget: inout Int) -> Int32? {
        while budget > 0 {
            budget -= 1
            if queues[1].count == 0 || queues[0].count > 0 && queues[0].bytes >= max(1, limit / 10) {
                let slot = queues[0].oldest
                guard entries[Int(slot)].uses >= 2 else {
                    remember(slot)
                    return slot
                }
                queues[0].unlink(slot, &entries)
                entries[Int(slot)].uses = 0
                entries[Int(slot)].queue = 1
                queues[1].push(slot, &entries)
            } else {
                let slot = queues[1].oldest
                guard entries[Int(slot)].uses > 0 else { return slot }
                entries[Int(slot)].uses -= 1
                rotate(slot, in: 1)
            }
        }
        return nil
    }

    // MARK: LFU

    /// How often an entry was used, as halved since.
    func lfuCount(of position: Int) -> Int {
        let entry = entries[position]
        return Int(entry.uses) >> min(7, Int(halvings &- entry.halvings))
    }

    mutating func count(_ slot: Int32) {
        let position = Int(slot)
        let old = lfuCount(of: position)
        let new = min(old + 1, Int(Entry.lfuLimit))
        queues[old].unlink(slot, &entries)
        entries[position].uses = UInt8(new)
        entries[position].halvings = halvings
        queues[new].push(slot, &entries)
        usesUntilHalving -= 1
        guard usesUntilHalving < 0 else { return }
        usesUntilHalving = max(64, 16 * self.count)
        halve()
    }

    /// Counts 2n and 2n + 1 become n; within one count, what was used more goes later.
    private mutating func halve() {
        halvings &+= 1
        for count in 0...Int(Entry.lfuLimit) / 2 {
            var merged = queues[2 * count + 1]
            merged.append(queues[2 * count], &entries)
            queues[count] = merged
        }
        for count in Int(Entry.lfuLimit) / 2 + 1...Int(Entry.lfuLimit) { queues[count] = Queue() }
    }

    mutating func lfuVictim(_ budget: inout Int) -> Int32? {
        guard budget > 0, let queue = queues.first(where: { $0.count > 0 }) else { return nil }
        budget -= 1
        return queue.oldest
    }

    // MARK: Cost and custom

    static var candidates: Int { 8 }

    mutating func appraise(_ position: Int) {
        let entry = entries[position]
        let worth = Double(entry.hits + 1) * Double(max(1, entry.costMilliseconds)) / Double(max(1, entry.bytes))
        entries[position].score = max(entries[position].score, inflation + worth)
    }

    mutating func costVictim(_ budget: inout Int) -> Int32? {
        while budget > 0, let top = heap.top {
            budget -= 1
            guard isCurrent(top) else {
                heap.removeTop()
                continue
            }
            let score = entries[Int(top.slot)].score
            guard top.worth >= score else {
                heap.raiseTop(to: score)
                continue
            }
            heap.removeTop()
            inflation = max(inflation, score)
            return top.slot
        }
        return nil
    }

    /// Whether the node is of the entry that stands in its slot now, and that one may go.
    private func isCurrent(_ node: WorthHeap.Node) -> Bool {
        let entry = entries[Int(node.slot)]
        return entry.admitted == node.stamp && entry.queue == 0
    }

    mutating func rank(_ slot: Int32) {
        let entry = entries[Int(slot)]
        heap.insert(WorthHeap.Node(worth: entry.score, slot: slot, stamp: entry.admitted))
        guard heap.nodes.count > 2 * count + 64 else { return }
        let entries = entries
        heap.keep { entries[Int($0.slot)].admitted == $0.stamp && entries[Int($0.slot)].queue == 0 }
    }

    /// Of the oldest few the one that is worth least; the others become the newest, so that each search sees others.
    mutating func leastWorth(_ budget: inout Int) -> Int32? {
        guard budget > 0 else { return nil }
        var least: (slot: Int32, worth: Double)?
        for _ in 0..<min(Self.candidates, queues[0].count) {
            budget -= 1
            let slot = queues[0].oldest
            let worth = worth(of: slot)
            if least.map({ worth < $0.worth }) ?? true { least = (slot, worth) }
            rotate(slot, in: 0)
        }
        return least?.slot
    }

    private func worth(of slot: Int32) -> Double {
        guard case .custom(let scorer) = policy else { return 0 }
        let score = scorer.score(candidate(slot))
        return score.isNaN ? -.infinity : score
    }
}
