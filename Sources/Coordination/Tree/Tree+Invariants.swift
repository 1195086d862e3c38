extension Tree {
    /// Traps, naming the broken property, unless the tree is what its comments promise.
    package func checkInvariants() {
        guard let root else { return }
        precondition(root.isLeaf || root.slots > 1, "a root with \(root.slots) child is a level too many")
        _ = root.checkInvariants(above: nil, below: nil)
    }
}

extension TreeNode {
    /// - Returns: the height, which must be the same for all children.
    fileprivate func checkInvariants(above lower: Key?, below upper: Key?) -> Int {
        precondition(slots > 0 && slots <= Self.capacity, "a node with \(slots) slots")
        for slot in 0..<slots {
            precondition(heads[slot] == keys[slot].head(skipping: skip), "stale head at \(slot)")
            precondition(keys[slot].sharedPrefix(with: keys[0]) >= skip, "keys share fewer than \(skip) bytes")
            if slot > 0 {
                precondition(keys[slot - 1].order(against: keys[slot], skipping: 0) < 0, "keys out of order at \(slot)")
            }
            if let lower { precondition(keys[slot].order(against: lower, skipping: 0) >= 0, "key below its separator") }
            if let upper { precondition(keys[slot].order(against: upper, skipping: 0) < 0, "key above its node") }
        }
        if isLeaf {
            precondition(total == slots, "a leaf counts \(total) for \(slots)")
            return 0
        }
        var sum = 0
        var height: Int?
        for slot in 0..<slots {
            let child = children[slot]
            let below = child.checkInvariants(
                above: keys[slot], below: slot + 1 < slots ? keys[slot + 1] : upper)
            precondition(height == nil || height == below, "leaves at different depths")
            height = below
            sum += child.total
        }
        precondition(total == sum, "a node counts \(total) for \(sum)")
        return height! + 1
    }
}
