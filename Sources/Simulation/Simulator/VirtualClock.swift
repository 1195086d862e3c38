/// Simulated time and what happens when: the one queue that orders a run.
///
/// What is due at one moment happens in the order in which it was scheduled, so a run depends on nothing but its seed.
struct VirtualClock<Occurrence> {
    private struct Slot {
        var time: UInt64
        var order: UInt64
        /// Where ``occurrences`` holds it; the heap moves small slots only.
        var place: Int32
    }

    /// Nanoseconds since the beginning.
    private(set) var now: UInt64 = 0
    private var heap: [Slot] = []
    private var occurrences: [Occurrence?] = []
    private var freePlaces: [Int32] = []
    private var nextOrder: UInt64 = 0
    /// What is due at once, after everything in the heap that is due now: it never gets into the heap.
    private var immediate: [Occurrence?] = []
    private var nextImmediate = 0

    mutating func schedule(_ occurrence: Occurrence, after delay: UInt64) {
        schedule(occurrence, at: now + delay)
    }

    mutating func schedule(_ occurrence: Occurrence, at time: UInt64) {
        precondition(time >= now, "scheduled for \(time), which was before \(now)")
        if time == now { return immediate.append(occurrence) }
        let place: Int32
        if let free = freePlaces.popLast() {
            place = free
            occurrences[Int(free)] = occurrence
        } else {
            place = Int32(occurrences.count)
            occurrences.append(occurrence)
        }
        heap.append(Slot(time: time, order: nextOrder, place: place))
        nextOrder += 1
        siftUp(heap.count - 1)
    }

    /// Moves time to the next occurrence; nil when nothing is left.
    mutating func next() -> Occurrence? {
        if nextImmediate < immediate.count, heap.first.map({ $0.time > now }) ?? true { return takeImmediate() }
        guard let first = heap.first else { return nil }
        now = first.time
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown()
        }
        freePlaces.append(first.place)
        return occurrences[Int(first.place)].take()
    }

    private mutating func takeImmediate() -> Occurrence? {
        let occurrence = immediate[nextImmediate].take()
        nextImmediate += 1
        if nextImmediate == immediate.count {
            immediate.removeAll(keepingCapacity: true)
            nextImmediate = 0
        }
        return occurrence
    }

    private func isEarlier(_ one: Slot, _ other: Slot) -> Bool {
        one.time != other.time ? one.time < other.time : one.order < other.order
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard isEarlier(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func siftDown() {
        var parent = 0
        while true {
            var least = parent
            let left = 2 * parent + 1
            if left < heap.count, isEarlier(heap[left], heap[least]) { least = left }
            if left + 1 < heap.count, isEarlier(heap[left + 1], heap[least]) { least = left + 1 }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
