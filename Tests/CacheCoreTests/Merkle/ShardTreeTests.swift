import CacheCore
import EsperTypes
import Testing

@Suite struct `The tree of a shard` {
    private static func items(_ count: Int, seed: UInt64 = 1) -> [MerkleItem] {
        var random = TestRandom(seed: seed)
        return (0..<count).map { number in
            let digest = Digest(words: random.next(), random.next(), random.next(), random.next())
            return MerkleItem(key: digest, content: digest, version: UInt64(number))
        }
    }

    @Test func `is equal for equal items in any order, and nowhere else`() {
        var random = TestRandom(seed: 3)
        let items = Self.items(3000)
        let left = ShardTree(items)
        var right = ShardTree(items.shuffled(using: &random))
        #expect(left.node == right.node && left.differences(from: right).isEmpty)
        let extra = Self.items(500, seed: 9)
        for item in extra { right.insert(item) }
        #expect(left.node != right.node)
        for item in extra.shuffled(using: &random) {
            let removed = right.remove(item)
            #expect(removed)
        }
        let again = right.remove(extra[0])
        #expect(!again)
        #expect(left.node == right.node && left.differences(from: right).isEmpty)
        #expect(left.items() == right.items())
    }

    @Test(arguments: [1, 64, 65, 1000, 20_000])
    func `one difference is one small range`(count: Int) {
        let items = Self.items(count)
        let whole = ShardTree(items)
        for position in [0, count / 2, count - 1] {
            var other = whole
            let removed = other.remove(items[position])
            #expect(removed)
            let ranges = whole.differences(from: other)
            #expect(ranges.count == 1 && ranges[0].contains(items[position].key))
            #expect(whole.items(in: ranges[0]).count <= ShardTree.leafItems)
            #expect(Set(whole.items(in: ranges[0])).subtracting(other.items(in: ranges[0])) == [items[position]])
            #expect(other.differences(from: whole) == ranges)
        }
    }

    @Test func `the same key with other content or another version differs`() {
        let items = Self.items(1000)
        let whole = ShardTree(items)
        var changed = items
        changed[500].content = items[1].key
        #expect(ShardTree(changed).differences(from: whole).count == 1)
        changed = items
        changed[500].version += 1
        #expect(ShardTree(changed).differences(from: whole).count == 1)
    }

    /// With an exclusive or, pairs of equal items vanish from the sum.
    @Test func `an item that is there twice is seen, and so is a missing pair`() {
        let items = Self.items(1000)
        let once = ShardTree(items)
        var twice = once
        twice.insert(items[7])
        #expect(once.differences(from: twice).count == 1)
        var thrice = twice
        thrice.insert(items[7])
        #expect(once.node.sum != thrice.node.sum && once.differences(from: thrice).count == 1)
    }

    @Test func `copies of one item beyond a leaf do not divide it for ever`() {
        let item = Self.items(1)[0]
        let tree = ShardTree(Array(repeating: item, count: 200))
        #expect(tree.count == 200)
        #expect(tree.differences(from: ShardTree([item])).count == 1)
    }

    @Test func `sums add and subtract modulo 2^128`() {
        var sum = MerkleSum(high: .max, low: .max)
        sum += MerkleSum(high: 0, low: 1)
        #expect(sum == MerkleSum())
        sum -= MerkleSum(high: 0, low: 1)
        #expect(sum == MerkleSum(high: .max, low: .max))
    }

    @Test func `differences are exactly those that were planted`() {
        var random = TestRandom(seed: 21)
        for _ in 0..<30 {
            let items = Self.items(Int(random.next() % 4000) + 1, seed: random.next())
            let removed = Set((0..<5).map { _ in items[Int(random.next() % UInt64(items.count))] })
            let (whole, part) = (ShardTree(items), ShardTree(items.filter { !removed.contains($0) }))
            let ranges = part.differences(from: whole)
            #expect(removed.allSatisfy { item in ranges.contains { $0.contains(item.key) } })
            let found = ranges.reduce(into: Set<MerkleItem>()) {
                $0.formUnion(Set(whole.items(in: $1)).subtracting(part.items(in: $1)))
            }
            #expect(found == removed)
        }
    }
}
