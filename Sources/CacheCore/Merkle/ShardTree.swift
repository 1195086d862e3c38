public import EsperTypes

/// A sum of hashes modulo 2¹²⁸: the same in any order, and nothing cancels. (An exclusive or would: the same item twice is
/// nothing, and a missing pair of equal hashes is never seen.)
public struct MerkleSum: Hashable, Sendable, CustomStringConvertible {
    public private(set) var high: UInt64 = 0
    public private(set) var low: UInt64 = 0

    public init() {}

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static func += (left: inout MerkleSum, right: MerkleSum) {
        let (low, carried) = left.low.addingReportingOverflow(right.low)
        left.low = low
        left.high = left.high &+ right.high &+ (carried ? 1 : 0)
    }

    public static func -= (left: inout MerkleSum, right: MerkleSum) {
        let (low, borrowed) = left.low.subtractingReportingOverflow(right.low)
        left.low = low
        left.high = left.high &- right.high &- (borrowed ? 1 : 0)
    }

    public var description: String { "\(String(high, radix: 16))-\(String(low, radix: 16))" }
}

/// What is compared: a key by which items are ordered, uniform like a digest, and what it holds.
public struct MerkleItem: Hashable, Sendable {
    /// A blob's SHA-256, or that of a name.
    public var key: Digest
    /// The SHA-256 of what the key stands for, with its version; a blob's is its own digest.
    public var content: Digest
    /// Bytes of a blob, or the version of a name.
    public var version: UInt64

    public init(key: Digest, content: Digest, version: UInt64) {
        self.key = key
        self.content = content
        self.version = version
    }

    public init(_ blob: BlobReference) { self.init(key: blob.digest, content: blob.digest, version: UInt64(blob.size)) }

    /// Of key and content and version: an item under the same key with other content is another item.
    ///
    /// Two rounds of SplitMix64's finalizer over all words. It finds accidents; against whoever makes items on purpose there are
    /// the digests themselves, which every receiver checks.
    public var hash: MerkleSum {
        var (left, right): (UInt64, UInt64) = (0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
        func add(_ word: UInt64) {
            left = Self.mix(left &+ word &+ 0x9e37_79b9_7f4a_7c15)
            right = Self.mix((right ^ word) &* 0xd6e8_feb8_6659_fd93 &+ left)
        }
        for position in 0..<4 { add(key.word(position)) }
        for position in 0..<4 { add(content.word(position)) }
        add(version)
        return MerkleSum(high: left, low: right)
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        var value = value
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}

/// A range of keys: those that begin with the same hexadecimal digits.
public struct MerkleRange: Hashable, Sendable, CustomStringConvertible {
    /// 0 ... 15 each.
    public let digits: [UInt8]

    public static let everything = MerkleRange(digits: [])!

    /// Nil for more than 64 digits, or ones above 15.
    public init?(digits: [UInt8]) {
        guard digits.count <= 2 * Digest.byteCount, digits.allSatisfy({ $0 < 16 }) else { return nil }
        self.digits = digits
    }

    public func contains(_ key: Digest) -> Bool {
        digits.isEmpty || zip(0..., digits).allSatisfy { MerkleRange.digit(key, $0) == $1 }
    }

    /// The sixteen parts; none of a whole key.
    public var parts: [MerkleRange] {
        digits.count == 2 * Digest.byteCount ? [] : (0..<16).map { MerkleRange(digits: digits + [$0])! }
    }

    static func digit(_ key: Digest, _ position: Int) -> UInt8 {
        let word = key.word(position / 16)
        return UInt8(truncatingIfNeeded: word >> UInt64(60 - position % 16 * 4)) & 15
    }

    public var description: String { digits.map { String($0, radix: 16) }.joined() + "*" }
}

/// What one side holds within a range.
public struct MerkleNode: Hashable, Sendable {
    public var range: MerkleRange
    public var count: Int
    public var sum: MerkleSum

    public init(range: MerkleRange, count: Int, sum: MerkleSum) {
        self.range = range
        self.count = count
        self.sum = sum
    }
}

/// The 16-ary Merkle tree of the items of a shard: kept up to date item by item, compared range by range, so that two holders find
/// what differs in as many questions as the tree is deep.
///
/// Nothing here reads a clock or the disk. An item counts once for each time that it was added, so a holder that counts one twice is
/// found out.
public struct ShardTree: Hashable, Sendable {
    /// A leaf with more is divided.
    public static let leafItems = 64

    private indirect enum Part: Hashable, Sendable {
        case leaf([MerkleItem])
        case inner([Part], count: Int, sum: MerkleSum)

        var count: Int {
            switch self {
            case .leaf(let items): items.count
            case .inner(_, let count, _): count
            }
        }

        var sum: MerkleSum {
            switch self {
            case .leaf(let items):
                items.reduce(into: MerkleSum()) { $0 += $1.hash }
            case .inner(_, _, let sum): sum
            }
        }
    }

    private var root = Part.leaf([])

    public init() {}

    public init(_ items: some Sequence<MerkleItem>) { for item in items { insert(item) } }

    public var count: Int { root.count }

    /// Equal sums and counts: equal items, up to a chance of 2⁻¹²⁸.
    public var node: MerkleNode { MerkleNode(range: .everything, count: root.count, sum: root.sum) }

    public mutating func insert(_ item: MerkleItem) { Self.insert(item, item.hash, into: &root, depth: 0) }

    private static func insert(_ item: MerkleItem, _ hash: MerkleSum, into part: inout Part, depth: Int) {
        switch part {
        case .leaf(var items):
            part = .leaf([])
            items.append(item)
            // Copies of one item cannot be told apart by more digits.
            guard items.count > leafItems, depth < 2 * Digest.byteCount else {
                part = .leaf(items)
                return
            }
            var parts = Array(repeating: Part.leaf([]), count: 16)
            var sum = MerkleSum()
            for item in items {
                let hash = item.hash
                sum += hash
                insert(item, hash, into: &parts[Int(MerkleRange.digit(item.key, depth))], depth: depth + 1)
            }
            part = .inner(parts, count: items.count, sum: sum)
        case .inner(var parts, let count, var sum):
            part = .leaf([])
            insert(item, hash, into: &parts[Int(MerkleRange.digit(item.key, depth))], depth: depth + 1)
            sum += hash
            part = .inner(parts, count: count + 1, sum: sum)
        }
    }

    /// Takes one of the item away. - Returns: whether there was one.
    @discardableResult
    public mutating func remove(_ item: MerkleItem) -> Bool { Self.remove(item, from: &root, depth: 0) }

    private static func remove(_ item: MerkleItem, from part: inout Part, depth: Int) -> Bool {
        switch part {
        case .leaf(var items):
            guard let position = items.firstIndex(of: item) else { return false }
            items.remove(at: position)
            part = .leaf(items)
            return true
        case .inner(var parts, let count, var sum):
            guard remove(item, from: &parts[Int(MerkleRange.digit(item.key, depth))], depth: depth + 1) else {
                return false
            }
            sum -= item.hash
            if count - 1 <= leafItems / 2 {
                part = .leaf(parts.flatMap(items))
            } else {
                part = .inner(parts, count: count - 1, sum: sum)
            }
            return true
        }
    }

    private static func items(_ part: Part) -> [MerkleItem] {
        switch part {
        case .leaf(let items): items
        case .inner(let parts, _, _): parts.flatMap(items)
        }
    }

    /// How many items are in the range, and their sum, whatever the tree's shape.
    public func node(_ range: MerkleRange) -> MerkleNode {
        var part = root
        for digit in range.digits {
            guard case .inner(let parts, _, _) = part else { break }
            part = parts[Int(digit)]
        }
        guard case .leaf(let items) = part else { return MerkleNode(range: range, count: part.count, sum: part.sum) }
        let inside = items.filter { range.contains($0.key) }
        return MerkleNode(range: range, count: inside.count, sum: inside.reduce(into: MerkleSum()) { $0 += $1.hash })
    }

    /// In order of key.
    public func items(in range: MerkleRange = .everything) -> [MerkleItem] {
        var part = root
        for digit in range.digits {
            guard case .inner(let parts, _, _) = part else { break }
            part = parts[Int(digit)]
        }
        return Self.items(part).filter { range.contains($0.key) }.sorted {
            $0.key == $1.key ? ($0.content, $0.version) < ($1.content, $1.version) : $0.key < $1.key
        }
    }

    /// What to do about what the other side says of a range.
    public enum Step: Hashable, Sendable {
        case equal
        /// Ask the other side for the sixteen parts.
        case divide([MerkleRange])
        /// Few enough on both sides: ask for the items.
        case compare(MerkleRange)
    }

    public func step(_ other: MerkleNode) -> Step {
        let own = node(other.range)
        if own == other { return .equal }
        let parts = other.range.parts
        return max(own.count, other.count) <= Self.leafItems || parts.isEmpty ? .compare(other.range) : .divide(parts)
    }

    /// The ranges of at most a leaf's items on either side in which the two differ.
    public func differences(from other: ShardTree) -> [MerkleRange] {
        var found: [MerkleRange] = []
        var open = [other.node]
        while let node = open.popLast() {
            switch step(node) {
            case .equal: break
            case .divide(let parts): open += parts.reversed().map(other.node)
            case .compare(let range): found.append(range)
            }
        }
        return found
    }
}
