/// An ordered map whose copies share structure: a B+tree with copy-on-write nodes.
///
/// Copying is O(1). A change copies the nodes on its path that another copy can reach, and none when there is no other:
/// in place at O(log n), about three nodes deep for a hundred thousand keys.
package struct Tree<Key: TreeKey, Value: Sendable>: Sendable {
    package typealias Node = TreeNode<Key, Value>

    package var root: Node?

    package init() {}

    package var count: Int { root?.total ?? 0 }
    package var isEmpty: Bool { root == nil }

    // MARK: Reads

    package func value(for key: Key) -> Value? {
        guard var node = root else { return nil }
        while !node.isLeaf { node = node.children[node.childSlot(key)] }
        let (slot, found) = node.lowerBound(key)
        return found ? node.values[slot] : nil
    }

    /// How many keys are below `key`. O(log n).
    package func rank(of key: Key) -> Int {
        guard var node = root else { return 0 }
        var rank = 0
        while !node.isLeaf {
            let slot = node.childSlot(key)
            for left in 0..<slot { rank += node.children[left].total }
            node = node.children[slot]
        }
        return rank + node.lowerBound(key).slot
    }

    /// The greatest key at or below `key`.
    package func floor(_ key: Key) -> (key: Key, value: Value)? { root.flatMap { Self.floor(key, in: $0) } }

    package var first: (key: Key, value: Value)? {
        guard var node = root else { return nil }
        while !node.isLeaf { node = node.children[0] }
        return (node.keys[0], node.values[0])
    }

    package var last: (key: Key, value: Value)? {
        guard var node = root else { return nil }
        while !node.isLeaf { node = node.children[node.slots - 1] }
        return (node.keys[node.slots - 1], node.values[node.slots - 1])
    }

    private static func floor(_ key: Key, in node: Node) -> (key: Key, value: Value)? {
        if node.isLeaf {
            let (slot, found) = node.lowerBound(key)
            let at = found ? slot : slot - 1
            return at >= 0 ? (node.keys[at], node.values[at]) : nil
        }
        // The child's lowest key may have been removed since: then the answer ends the child before it.
        for slot in stride(from: node.childSlot(key), through: 0, by: -1) {
            if let found = floor(key, in: node.children[slot]) { return found }
        }
        return nil
    }

    // MARK: Changes

    /// Writes what `make` returns for the value now there, in one descent.
    ///
    /// - Parameter make: Gets the key that is kept in the tree and its value, or the new key and `nil`.
    @discardableResult
    @inline(__always)
    package mutating func upsert(_ key: Key, _ make: (Key, Value?) -> Value) -> Value? {
        guard root != nil else {
            let leaf = Node(isLeaf: true)
            leaf.insertLeaf(key, make(key, nil), at: 0)
            root = leaf
            return nil
        }
        if !isKnownUniquelyReferenced(&root) { root = root!.copy() }
        let (old, right) = Self.upsert(key, make, in: root!)
        if let right {
            let top = Node(isLeaf: false)
            let left = root!
            top.insertChild(left.keys[0], left, at: 0)
            top.insertChild(right.keys[0], right, at: 1)
            top.total = left.total + right.total
            root = top
        }
        return old
    }

    @discardableResult
    package mutating func set(_ key: Key, _ value: Value) -> Value? { upsert(key) { _, _ in value } }

    /// Changes a value in place; nothing happens when the key is not there.
    package mutating func update(_ key: Key, _ body: (inout Value) -> Void) {
        guard root != nil else { return }
        if !isKnownUniquelyReferenced(&root) { root = root!.copy() }
        var node = root!
        while !node.isLeaf {
            let slot = node.childSlot(key)
            Self.makeUnique(&node.children[slot])
            node = node.children[slot]
        }
        let (slot, found) = node.lowerBound(key)
        if found { body(&node.values[slot]) }
    }

    @discardableResult
    package mutating func remove(_ key: Key) -> Value? {
        guard root != nil else { return nil }
        if !isKnownUniquelyReferenced(&root) { root = root!.copy() }
        let old = Self.remove(key, in: root!)
        while let top = root {
            if top.slots == 0 {
                root = nil
            } else if !top.isLeaf, top.slots == 1 {
                root = top.children[0]
            } else {
                break
            }
        }
        return old
    }

    @inline(__always)
    private static func makeUnique(_ node: inout Node) {
        if !isKnownUniquelyReferenced(&node) { node = node.copy() }
    }

    /// - Returns: the value replaced, and the right half when the node had to be split.
    private static func upsert(_ key: Key, _ make: (Key, Value?) -> Value, in node: Node) -> (Value?, Node?) {
        if node.isLeaf {
            let (slot, found) = node.lowerBound(key)
            if found {
                let old = node.values[slot]
                node.values[slot] = make(node.keys[slot], old)
                return (old, nil)
            }
            guard node.slots == Node.capacity else {
                node.insertLeaf(key, make(key, nil), at: slot)
                return (nil, nil)
            }
            // Keys that arrive in order leave full leaves behind.
            let right = node.split(at: slot == node.slots ? node.slots - 1 : node.slots / 2)
            if slot <= node.slots {
                node.insertLeaf(key, make(key, nil), at: slot)
            } else {
                right.insertLeaf(key, make(key, nil), at: slot - node.slots)
            }
            return (nil, right)
        }
        let slot = node.childSlot(key)
        if slot == 0 { node.lowerFirstKey(to: key) }
        makeUnique(&node.children[slot])
        let (old, split) = upsert(key, make, in: node.children[slot])
        if old == nil { node.total += 1 }
        guard let split else { return (old, nil) }
        guard node.slots == Node.capacity else {
            node.insertChild(split.keys[0], split, at: slot + 1)
            return (old, nil)
        }
        // `split` holds elements that `node.total` counts but no child of it does yet.
        node.total -= split.total
        let right = node.split(at: slot + 1 == node.slots ? node.slots - 1 : node.slots / 2)
        let target = slot < node.slots ? node : right
        target.insertChild(split.keys[0], split, at: (slot < node.slots ? slot : slot - node.slots) + 1)
        target.total += split.total
        return (old, right)
    }

    private static func remove(_ key: Key, in node: Node) -> Value? {
        if node.isLeaf {
            let (slot, found) = node.lowerBound(key)
            return found ? node.removeLeaf(at: slot) : nil
        }
        let slot = node.childSlot(key)
        makeUnique(&node.children[slot])
        guard let old = remove(key, in: node.children[slot]) else { return nil }
        node.total -= 1
        rebalance(node, around: slot)
        return old
    }

    /// Removes an empty child; merges one that is nearly empty when a neighbour has room to spare.
    private static func rebalance(_ node: Node, around slot: Int) {
        let remaining = node.children[slot].slots
        if remaining == 0 {
            node.removeChild(at: slot)
            return
        }
        guard remaining < Node.capacity / 4 else { return }
        for left in [slot - 1, slot] where left >= 0 && left + 1 < node.slots {
            guard node.children[left].slots + node.children[left + 1].slots <= Node.capacity * 3 / 4 else { continue }
            makeUnique(&node.children[left])
            node.children[left].absorb(node.children[left + 1])
            node.removeChild(at: left + 1)
            return
        }
    }
}
