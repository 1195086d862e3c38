public import CacheCore
public import Coordination

extension NodeHandle {
    /// What a full name stands for, from this node's own copy, on the calling thread and without a word to anybody.
    ///
    /// Linearizable: the answer was true at some moment between the call and its return.
    ///
    /// - Returns: nil when this node cannot know: it holds no read lease, or the name is about to change, or was about to
    ///   in an entry that is not committed yet. Then ask with a linearizable query, which waits for what is on its way.
    public func binding(_ name: [UInt8]) -> BindingLookup? { names.lookup(name) }

    /// What every name stands for at this moment, for many lookups that all began before it; as ``binding(_:)`` otherwise.
    ///
    /// - Returns: nil when this node cannot tell of all names at once: it holds no read lease, or some name is about to change.
    public func namePicture() -> NamePicture? { names.picture() }

    /// What this node has applied of the name, or had a second ago while it catches up: once true, and perhaps not any more. For callers
    /// that allow that and say so.
    public func staleBinding(_ name: [UInt8]) -> BindingLookup { names.staleLookup(name) }

    /// All that this node shows about names, placement included; as old as ``staleBinding(_:)``'s answers. O(1).
    public var cacheTable: CacheTable { names.table.cache }

    /// Has `changed` called, instead of whoever was named before, each time that ``cacheTable`` has another map of shards. On the core loop: it
    /// returns at once.
    public func observeShardMap(_ changed: @escaping @Sendable () -> Void) { names.observeMap(changed) }

    /// How this node stands with its read lease.
    public var leaseState: NameLeaseState { names.leaseState }
}

/// What every name stood for at the moment this was taken: linearizable for whoever asked before that moment and has no answer
/// yet.
public struct NamePicture: Sendable {
    let table: NameTable
    let pendingTime: UInt64

    /// Nil: the name's time may be over; ask for it alone.
    public func binding(_ name: [UInt8]) -> BindingLookup? { table.binding(name, pendingTime) }
}

/// How a node stands with the lease by which it answers for names.
public struct NameLeaseState: Hashable, Sendable {
    /// How long it goes on; nil: there is none.
    public var remaining: Duration?
    /// Since when it has held leases without a gap.
    public var age: Duration?
    /// Lookups that were not answered because there was no lease.
    public var refusals: UInt64
    /// Lookups that were not answered because the name was about to change.
    public var pendingRefusals: UInt64

    public init(remaining: Duration? = nil, age: Duration? = nil, refusals: UInt64 = 0, pendingRefusals: UInt64 = 0) {
        self.remaining = remaining
        self.age = age
        self.refusals = refusals
        self.pendingRefusals = pendingRefusals
    }
}
