public import EsperTypes

/// Asks for the keys of a range, now or as they were at a revision.
public struct RangeRequest: Hashable, Sendable {
    public enum SortKey: UInt8, Hashable, Sendable { case key, version, createRevision, modRevision, value }
    public enum SortOrder: UInt8, Hashable, Sendable { case ascending, descending }

    public struct Sort: Hashable, Sendable {
        public var key: SortKey
        public var order: SortOrder
        public init(by key: SortKey, _ order: SortOrder = .ascending) {
            self.key = key
            self.order = order
        }
    }

    public var range: KeyRange
    /// 0 means the latest.
    public var revision: Revision
    /// The most keys to answer with; 0 means no bound. Sorting and filters come before the limit.
    public var limit: Int
    public var keysOnly: Bool
    /// Answer with the number of keys alone. O(log n) for the latest revision.
    public var countOnly: Bool
    /// `nil` is key order, which costs no sorting.
    public var sort: Sort?
    /// Inclusive bounds on revisions; 0 means none.
    public var minimumModRevision: Revision
    public var maximumModRevision: Revision
    public var minimumCreateRevision: Revision
    public var maximumCreateRevision: Revision
    /// Stop after about this many bytes of keys and values (at least one key is answered); 0 means no bound.
    /// The rest is announced by ``RangeReply/more``. Not obeyed together with ``sort``.
    public var maximumBytes: Int

    public init(
        _ range: KeyRange, revision: Revision = .zero, limit: Int = 0, keysOnly: Bool = false, countOnly: Bool = false,
        sort: Sort? = nil, minimumModRevision: Revision = .zero, maximumModRevision: Revision = .zero,
        minimumCreateRevision: Revision = .zero, maximumCreateRevision: Revision = .zero, maximumBytes: Int = 0
    ) {
        self.range = range
        self.revision = revision
        self.limit = limit
        self.keysOnly = keysOnly
        self.countOnly = countOnly
        self.sort = sort
        self.minimumModRevision = minimumModRevision
        self.maximumModRevision = maximumModRevision
        self.minimumCreateRevision = minimumCreateRevision
        self.maximumCreateRevision = maximumCreateRevision
        self.maximumBytes = maximumBytes
    }
}

/// The keys of a range.
public struct RangeReply: Hashable, Sendable {
    public var keyValues: [KeyValue]
    /// Whether the range has more keys than were answered.
    public var more: Bool
    /// How many keys the range has, whatever the limit and the filters.
    public var count: Int

    public init(keyValues: [KeyValue], more: Bool, count: Int) {
        self.keyValues = keyValues
        self.more = more
        self.count = count
    }
}
