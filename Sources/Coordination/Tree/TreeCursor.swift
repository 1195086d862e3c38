/// Walks a tree's elements upwards from a key; keeps the tree it started on, whatever becomes of the original.
package struct TreeCursor<Key: TreeKey, Value: Sendable>: IteratorProtocol, Sequence, Sendable {
    private typealias Node = TreeNode<Key, Value>

    private var path: [(node: Node, slot: Int)] = []
    private var leaf: Node?
    private var slot = 0

    /// - Parameter start: the lowest key wanted; `nil` means from the first.
    package init(_ tree: Tree<Key, Value>, from start: Key? = nil) {
        guard var node = tree.root else { return }
        while !node.isLeaf {
            let slot = start.map { node.childSlot($0) } ?? 0
            path.append((node, slot))
            node = node.children[slot]
        }
        leaf = node
        slot = start.map { node.lowerBound($0).slot } ?? 0
    }

    package mutating func next() -> (key: Key, value: Value)? {
        while let node = leaf {
            if slot < node.slots {
                defer { slot += 1 }
                return (node.keys[slot], node.values[slot])
            }
            advanceLeaf()
        }
        return nil
    }

    private mutating func advanceLeaf() {
        leaf = nil
        slot = 0
        while let (node, at) = path.popLast() {
            guard at + 1 < node.slots else { continue }
            path.append((node, at + 1))
            var below = node.children[at + 1]
            while !below.isLeaf {
                path.append((below, 0))
                below = below.children[0]
            }
            leaf = below
            return
        }
    }
}

extension Tree {
    /// The elements from `start` on.
    package func cursor(from start: Key? = nil) -> TreeCursor<Key, Value> { TreeCursor(self, from: start) }
}
