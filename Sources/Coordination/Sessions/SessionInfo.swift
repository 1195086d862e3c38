public import EsperTypes

/// A session: a promise to be alive, with keys that go when it ends.
public struct SessionInfo: Hashable, Sendable {
    public var id: SessionID
    public var ttl: Duration
    /// Who opened it.
    public var principal: String
    /// What its owner calls it; for people.
    public var label: String
    /// The leader's clock when it was opened, in nanoseconds since 1970.
    public var grantedAt: UInt64
    /// How many keys are attached.
    public var keyCount: Int
    /// The attached keys in order, when they were asked for.
    public var keys: [[UInt8]]

    public init(
        id: SessionID, ttl: Duration, principal: String, label: String, grantedAt: UInt64, keyCount: Int,
        keys: [[UInt8]] = []
    ) {
        self.id = id
        self.ttl = ttl
        self.principal = principal
        self.label = label
        self.grantedAt = grantedAt
        self.keyCount = keyCount
        self.keys = keys
    }
}

/// A session has begun.
public struct SessionGrant: Hashable, Sendable {
    public var id: SessionID
    public var ttl: Duration

    public init(id: SessionID, ttl: Duration) {
        self.id = id
        self.ttl = ttl
    }
}

/// A session began or ended.
public enum SessionChange: Hashable, Sendable {
    case granted(SessionGrant)
    case ended(SessionID)
}
