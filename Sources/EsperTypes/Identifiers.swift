/// A 64-bit name, written as sixteen hexadecimal digits.
public protocol Identifier: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible,
    LosslessStringConvertible
where RawValue == UInt64 {
    init(rawValue: UInt64)
}

extension Identifier {
    @inlinable
    public init(_ value: UInt64) { self.init(rawValue: value) }

    /// Reads up to sixteen hexadecimal digits.
    public init?(_ description: String) {
        guard description.utf8.count <= 16, let value = UInt64(description, radix: 16) else { return nil }
        self.init(rawValue: value)
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    public var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}

/// Names a cluster; drawn once when it is created, checked by every handshake and on every disk.
public struct ClusterID: Identifier {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names a member of the cluster. Never reused: a node that lost its disk comes back under a new one.
public struct NodeID: Identifier {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names one life of a node's disk; drawn when the data directory is created.
public struct Incarnation: Identifier {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names a token by which a new node may join; drawn by whoever makes it.
public struct JoinTokenID: Identifier {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names a client session (a lease with keep-alives); the log index of the entry that granted it.
public struct SessionID: Identifier {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names a registered client, for exactly-once retries; the log index of the entry that registered it.
public struct ClientID: Identifier {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}
