/// A set of neighbouring keys in byte order.
public struct KeyRange: Hashable, Sendable {
    /// Where a range stops.
    public enum End: Hashable, Sendable {
        /// The range holds its lower key and nothing else.
        case single
        /// The first key that is no longer in the range.
        case before([UInt8])
        /// The range goes on to the last key.
        case unbounded
    }

    /// The lowest key of the range.
    public var lower: [UInt8]
    public var end: End

    public init(lower: [UInt8], end: End) {
        self.lower = lower
        self.end = end
    }

    /// Exactly one key.
    public static func key(_ key: [UInt8]) -> KeyRange { KeyRange(lower: key, end: .single) }

    /// Every key that starts with `prefix`; the empty prefix means all keys.
    public static func prefix(_ prefix: [UInt8]) -> KeyRange {
        KeyRange(lower: prefix, end: successor(ofPrefix: prefix).map(End.before) ?? .unbounded)
    }

    /// Every key from `lower` on.
    public static func from(_ lower: [UInt8]) -> KeyRange { KeyRange(lower: lower, end: .unbounded) }

    /// From `lower` up to, and without, `upper`; empty when `upper` is not above `lower`.
    public static func keys(from lower: [UInt8], before upper: [UInt8]) -> KeyRange {
        KeyRange(lower: lower, end: .before(upper))
    }

    public static let all = KeyRange(lower: [], end: .unbounded)

    public func contains(_ key: [UInt8]) -> Bool {
        switch end {
        case .single: key == lower
        case .unbounded: !key.precedes(lower)
        case .before(let upper): !key.precedes(lower) && key.precedes(upper)
        }
    }

    /// Whether some key could be in both ranges.
    public func overlaps(_ other: KeyRange) -> Bool {
        !isEmpty && !other.isEmpty && startsBeforeEnd(of: other) && other.startsBeforeEnd(of: self)
    }

    /// Whether no key can be in the range.
    public var isEmpty: Bool {
        if case .before(let upper) = end { return !lower.precedes(upper) }
        return false
    }

    /// The prefix whose keys are exactly this range's, or `nil` when there is none.
    public var asPrefix: [UInt8]? {
        switch end {
        case .single: nil
        case .unbounded: lower.isEmpty || lower.allSatisfy { $0 == 0xff } ? lower : nil
        case .before(let upper): Self.successor(ofPrefix: lower) == upper ? lower : nil
        }
    }

    /// The lowest key above every key that starts with `prefix`; `nil` when there is none (empty, or only 0xff).
    public static func successor(ofPrefix prefix: [UInt8]) -> [UInt8]? {
        guard let last = prefix.lastIndex(where: { $0 != 0xff }) else { return nil }
        var upper = Array(prefix[...last])
        upper[last] += 1
        return upper
    }

    private func startsBeforeEnd(of other: KeyRange) -> Bool {
        switch other.end {
        case .single: !other.lower.precedes(lower)
        case .unbounded: true
        case .before(let upper): lower.precedes(upper)
        }
    }
}
