/// A node of a ``Tree``: a leaf of keys and values, or an inner node of keys and children.
///
/// In an inner node key `i` is at most every key below child `i`, and above every key below child `i - 1`. All keys of a node share their first `skip` bytes, and `heads[i]` holds
/// the eight bytes after those: a search compares numbers that lie side by side, and follows a key only on a tie.
///
/// `@unchecked Sendable`: a node is changed only through a `Tree` that holds the single reference to it and to all
/// nodes above it (`isKnownUniquelyReferenced`); one that can be reached from two trees is never changed again,
/// as with the storage of the standard library's arrays.
package final class TreeNode<Key: TreeKey, Value: Sendable>: @unchecked Sendable {
    /// 64 heads are eight cache lines; a binary search touches three of them.
    static var capacity: Int { 64 }

    package let isLeaf: Bool
    let heads: UnsafeMutablePointer<UInt64>
    package let keys: UnsafeMutablePointer<Key>
    /// Of a leaf.
    package let values: UnsafeMutablePointer<Value>
    /// Of an inner node; the same memory as `values`.
    package let children: UnsafeMutablePointer<TreeNode>
    /// The numbers, in front of the rest: reached through a pointer, they cost no exclusivity check.
    private let header: UnsafeMutablePointer<Header>

    private struct Header {
        var slots = 0
        var skip = 0
        var total = 0
    }

    package var slots: Int {
        @inline(__always) get { header.pointee.slots }
        @inline(__always) set { header.pointee.slots = newValue }
    }

    /// How many leading bytes all keys have in common, as far as the heads make use of it.
    var skip: Int {
        @inline(__always) get { header.pointee.skip }
        @inline(__always) set { header.pointee.skip = newValue }
    }

    /// Elements in the leaves below.
    package var total: Int {
        @inline(__always) get { header.pointee.total }
        @inline(__always) set { header.pointee.total = newValue }
    }

    init(isLeaf: Bool) {
        self.isLeaf = isLeaf
        let capacity = Self.capacity
        let payload = isLeaf ? MemoryLayout<Value>.stride : MemoryLayout<TreeNode>.stride
        // Every part's size is a multiple of 64, so every part is aligned for anything of alignment up to 16.
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: 64 + capacity * (8 + MemoryLayout<Key>.stride + payload), alignment: 16)
        header = memory.bindMemory(to: Header.self, capacity: 1)
        header.initialize(to: Header())
        heads = (memory + 64).bindMemory(to: UInt64.self, capacity: capacity)
        let keyMemory = memory + 64 + capacity * 8
        keys = keyMemory.bindMemory(to: Key.self, capacity: capacity)
        let payloadMemory = keyMemory + capacity * MemoryLayout<Key>.stride
        values = payloadMemory.assumingMemoryBound(to: Value.self)
        children = payloadMemory.assumingMemoryBound(to: TreeNode.self)
    }

    deinit {
        keys.deinitialize(count: slots)
        if isLeaf { values.deinitialize(count: slots) } else { children.deinitialize(count: slots) }
        UnsafeMutableRawPointer(header).deallocate()
    }

    /// A node of our own with the same contents; children and values are shared.
    func copy() -> TreeNode {
        let node = TreeNode(isLeaf: isLeaf)
        node.heads.update(from: heads, count: slots)
        node.keys.initialize(from: keys, count: slots)
        if isLeaf {
            node.values.initialize(from: values, count: slots)
        } else {
            node.children.initialize(from: children, count: slots)
        }
        node.slots = slots
        node.skip = skip
        node.total = total
        return node
    }

    // MARK: Search

    /// The first slot whose key is at or above `key`, and whether it is equal.
    @inline(__always)
    func lowerBound(_ key: Key) -> (slot: Int, found: Bool) {
        if slots == 0 { return (0, false) }
        let prefix = key.prefixOrder(against: keys[0], length: skip)
        if prefix != 0 { return (prefix < 0 ? 0 : slots, false) }
        let head = key.head(skipping: skip)
        var low = 0
        var high = slots
        while low < high {
            let middle = (low + high) >> 1
            if heads[middle] < head { low = middle + 1 } else { high = middle }
        }
        if low == slots || heads[low] != head { return (low, false) }
        let order = keys[low].order(against: key, skipping: skip)
        if order >= 0 { return (low, order == 0) }
        // Ties beyond the first: find where they end, and search among them.
        high = slots
        var tieEnd = low + 1
        while tieEnd < high {
            let middle = (tieEnd + high) >> 1
            if heads[middle] <= head { tieEnd = middle + 1 } else { high = middle }
        }
        low += 1
        high = tieEnd
        while low < high {
            let middle = (low + high) >> 1
            let order = keys[middle].order(against: key, skipping: skip)
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    /// The child below which `key` belongs.
    @inline(__always)
    func childSlot(_ key: Key) -> Int {
        let (slot, found) = lowerBound(key)
        return found ? slot : max(slot - 1, 0)
    }

    // MARK: Change (the caller holds the only reference)

    func insertLeaf(_ key: Key, _ value: Value, at slot: Int) {
        openKey(key, at: slot)
        (values + slot + 1).moveInitialize(from: values + slot, count: slots - slot)
        (values + slot).initialize(to: value)
        slots += 1
        total += 1
    }

    func insertChild(_ key: Key, _ child: TreeNode, at slot: Int) {
        openKey(key, at: slot)
        (children + slot + 1).moveInitialize(from: children + slot, count: slots - slot)
        (children + slot).initialize(to: child)
        slots += 1
    }

    func removeLeaf(at slot: Int) -> Value {
        closeKey(at: slot)
        let value = (values + slot).move()
        (values + slot).moveInitialize(from: values + slot + 1, count: slots - slot - 1)
        slots -= 1
        total -= 1
        return value
    }

    func removeChild(at slot: Int) {
        closeKey(at: slot)
        (children + slot).deinitialize(count: 1)
        (children + slot).moveInitialize(from: children + slot + 1, count: slots - slot - 1)
        slots -= 1
    }

    /// Moves the slots from `slot` on into a new node on the right.
    func split(at slot: Int) -> TreeNode {
        let right = TreeNode(isLeaf: isLeaf)
        let moved = slots - slot
        right.keys.moveInitialize(from: keys + slot, count: moved)
        if isLeaf {
            right.values.moveInitialize(from: values + slot, count: moved)
            right.total = moved
        } else {
            right.children.moveInitialize(from: children + slot, count: moved)
            for child in 0..<moved { right.total += right.children[child].total }
        }
        right.slots = moved
        slots = slot
        total -= right.total
        refreshHeads()
        right.refreshHeads()
        return right
    }

    /// Takes over all slots of the right neighbour.
    func absorb(_ right: TreeNode) {
        (keys + slots).initialize(from: right.keys, count: right.slots)
        if isLeaf {
            (values + slots).initialize(from: right.values, count: right.slots)
        } else {
            (children + slots).initialize(from: right.children, count: right.slots)
        }
        slots += right.slots
        total += right.total
        refreshHeads()
    }

    /// Makes `key`, which is about to go below child 0, its bound, if it is below the present one.
    @inline(__always)
    func lowerFirstKey(to key: Key) {
        if key.order(against: keys[0], skipping: 0) < 0 {
            keys[0] = key
            refreshHeads()
        }
    }

    private func openKey(_ key: Key, at slot: Int) {
        (keys + slot + 1).moveInitialize(from: keys + slot, count: slots - slot)
        (keys + slot).initialize(to: key)
        (heads + slot + 1).update(from: heads + slot, count: slots - slot)
        // Between two keys of the node the common bytes are common to the new key too.
        if slot > 0, slot < slots {
            heads[slot] = key.head(skipping: skip)
            return
        }
        if slots == 0 {
            skip = 0
            heads[0] = key.head(skipping: 0)
            return
        }
        let shared = key.sharedPrefix(with: keys[slot == 0 ? 1 : 0])
        if slots > 1, shared >= skip {
            heads[slot] = key.head(skipping: skip)
        } else {
            skip = slots == 1 ? shared : shared < skip ? shared : skip
            for slot in 0...slots { heads[slot] = keys[slot].head(skipping: skip) }
        }
    }

    private func closeKey(at slot: Int) {
        (keys + slot).deinitialize(count: 1)
        (keys + slot).moveInitialize(from: keys + slot + 1, count: slots - slot - 1)
        (heads + slot).update(from: heads + slot + 1, count: slots - slot - 1)
    }

    private func refreshHeads() {
        guard slots > 0 else { return }
        skip = keys[0].sharedPrefix(with: keys[slots - 1])
        for slot in 0..<slots { heads[slot] = keys[slot].head(skipping: skip) }
    }
}
