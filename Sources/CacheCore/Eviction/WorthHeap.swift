/// Entries by a worth that only grows while they are queued, the least on top.
///
/// Growth is not told to the heap, so that a use writes to the entry alone: what comes to the top with a worth it has
/// outgrown goes back down. What is removed stays until it comes to the top or the heap is rebuilt.
struct WorthHeap: Sendable {
    struct Node: Sendable {
        var worth: Double
        var slot: Int32
        /// Tells the entry from later ones in the same slot.
        var stamp: UInt32
    }

    private(set) var nodes: [Node] = []

    var top: Node? { nodes.first }

    mutating func insert(_ node: Node) {
        nodes.append(node)
        var position = nodes.count - 1
        while position > 0 {
            let parent = (position - 1) / 2
            guard nodes[position].worth < nodes[parent].worth else { return }
            nodes.swapAt(position, parent)
            position = parent
        }
    }

    /// The top one has this worth now, which is no less.
    mutating func raiseTop(to worth: Double) {
        nodes[0].worth = worth
        sink(0)
    }

    mutating func removeTop() {
        let last = nodes.removeLast()
        guard !nodes.isEmpty else { return }
        nodes[0] = last
        sink(0)
    }

    mutating func keep(where isAlive: (Node) -> Bool) {
        nodes.removeAll { !isAlive($0) }
        for position in stride(from: nodes.count / 2 - 1, through: 0, by: -1) { sink(position) }
    }

    private mutating func sink(_ start: Int) {
        nodes.withUnsafeMutableBufferPointer { nodes in
            let sinking = nodes[start]
            var position = start
            while true {
                var child = 2 * position + 1
                guard child < nodes.count else { break }
                if child + 1 < nodes.count, nodes[child + 1].worth < nodes[child].worth { child += 1 }
                guard nodes[child].worth < sinking.worth else { break }
                nodes[position] = nodes[child]
                position = child
            }
            nodes[position] = sinking
        }
    }
}
