/// A number that only means something among its own kind.
///
/// A term, a log index and a revision are all counters, and adding one to another is always a mistake: each is a
/// type of its own, so the mistake does not compile. Zero is "before the first".
public protocol Counter: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible
where RawValue == UInt64 {
    init(rawValue: UInt64)
}

extension Counter {
    @inlinable
    public init(_ value: UInt64) { self.init(rawValue: value) }

    @inlinable
    public static var zero: Self { Self(rawValue: 0) }

    /// Where no cluster gets: at a million steps a second it takes 146,000 years. Below it neither a step nor the sum of two
    /// overflows.
    @inlinable
    public static var unreachable: Self { Self(rawValue: 1 << 62) }

    /// A value from bytes that somebody else wrote.
    ///
    /// - Throws: ``DecodingError/unreachable(_:)``.
    @inlinable
    public init(reachable rawValue: UInt64) throws(DecodingError) {
        guard rawValue < Self.unreachable.rawValue else { throw .unreachable(rawValue) }
        self.init(rawValue: rawValue)
    }

    /// The next value. Traps on overflow; see ``unreachable``.
    @inlinable
    public var next: Self { Self(rawValue: rawValue + 1) }

    /// The previous value; zero stays zero.
    @inlinable
    public var previous: Self { Self(rawValue: rawValue == 0 ? 0 : rawValue - 1) }

    @inlinable
    public func advanced(by count: Int) -> Self { Self(rawValue: rawValue + UInt64(count)) }

    /// How many steps lie between `other` and this value; negative when `other` is later.
    @inlinable
    public func distance(from other: Self) -> Int { Int(rawValue) - Int(other.rawValue) }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    public var description: String { String(rawValue) }
}

/// A Raft term (§5.1): at most one leader each.
public struct Term: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A position in the replicated log; the first entry has index 1.
public struct LogIndex: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A version of the whole keyspace: every command that changes a key makes the next one.
public struct Revision: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The number of a batch handed to the local log, in hand-over order.
public struct WriteSequence: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The number of a ReadIndex round within one leader's term.
public struct ReadSequence: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names one replication session of a leader with one follower, so that answers of an earlier one do not count.
public struct SessionNonce: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// What a lock holder shows to a guarded resource; a resource refuses a token below the highest it has seen.
public struct FencingToken: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Where an entry stands and who put it there: two logs with the same entry ID agree up to it (§5.3).
public struct EntryID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var term: Term
    public var index: LogIndex

    @inlinable
    public init(term: Term, index: LogIndex) {
        self.term = term
        self.index = index
    }

    /// Before the first entry.
    public static let zero = EntryID(term: .zero, index: .zero)

    /// "More up to date" of §5.4.1: the later term wins, then the longer log.
    @inlinable
    public static func < (left: EntryID, right: EntryID) -> Bool {
        left.term == right.term ? left.index < right.index : left.term < right.term
    }

    public var description: String { "\(term).\(index)" }
}
