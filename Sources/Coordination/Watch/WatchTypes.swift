public import EsperTypes

/// Names a watcher within one registry.
public struct WatchID: Hashable, Comparable, Sendable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static func < (left: WatchID, right: WatchID) -> Bool { left.rawValue < right.rawValue }
}

/// What a watcher wants to see.
public struct WatchRequest: Hashable, Sendable {
    public var range: KeyRange
    /// The first revision to tell of, past or future; 0 means whatever comes next.
    public var fromRevision: Revision
    public var skipsPuts: Bool
    public var skipsDeletions: Bool
    /// Whether events carry what they replaced.
    public var includesPrevious: Bool

    public init(
        _ range: KeyRange, fromRevision: Revision = .zero, skipsPuts: Bool = false, skipsDeletions: Bool = false,
        includesPrevious: Bool = false
    ) {
        self.range = range
        self.fromRevision = fromRevision
        self.skipsPuts = skipsPuts
        self.skipsDeletions = skipsDeletions
        self.includesPrevious = includesPrevious
    }
}

/// Something for one watcher, to be sent in order.
public struct WatchDelivery: Hashable, Sendable {
    public enum Content: Hashable, Sendable {
        /// Events in order. Those of one revision are together, unless `continues`: then the last revision goes on in
        /// the next delivery.
        case events([WatchEvent], continues: Bool)
        /// The watcher is gone: what it asked for was compacted away; what can be watched begins at `at`.
        case compacted(at: Revision)
    }

    public var watcher: WatchID
    public var content: Content
    /// With this delivery the watcher knows everything up to and with this revision (not yet all of it, if it continues).
    public var through: Revision

    public init(watcher: WatchID, content: Content, through: Revision) {
        self.watcher = watcher
        self.content = content
        self.through = through
    }
}
