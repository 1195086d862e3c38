public import EsperTypes

/// What an entry is for.
public enum EntryKind: UInt8, Sendable, CaseIterable {
    /// The entry every leader begins its term with, so that it can commit what earlier terms left behind (§5.4.2, §8).
    case noop = 0
    /// Bytes for the state machine; RaftCore never looks inside.
    case command = 1
    /// An encoded ``Configuration``; it takes effect when it is appended, not when it is committed (dissertation §4.1).
    case configuration = 2
    /// A command that may change what nodes with a ``HolderLease`` answer from their own state.
    case guardedCommand = 3
}

/// One slot of the replicated log. Immutable once made: two entries with the same ``id`` are the same entry (§5.3).
public struct Entry: Hashable, Sendable {
    public var id: EntryID
    public var kind: EntryKind
    /// Empty for a no-op; at most ``Limits/entryPayloadBytes``.
    public var payload: [UInt8]

    public init(id: EntryID, kind: EntryKind, payload: [UInt8] = []) {
        self.id = id
        self.kind = kind
        self.payload = payload
    }

    @inlinable
    public var term: Term { id.term }

    @inlinable
    public var index: LogIndex { id.index }

    /// Whether its payload is for the state machine.
    @inlinable
    public var isCommand: Bool { kind == .command || kind == .guardedCommand }

    /// Whether nobody sees it before every node with a ``HolderLease`` has it. A configuration is such: the next leader has to know whom the
    /// one before may have granted a lease.
    var isGuarded: Bool { kind == .guardedCommand || kind == .configuration }
}

/// A command on its way into the log.
public struct Proposal: Hashable, Sendable {
    /// Chosen by the proposer; comes back once, in `proposalsAppended` or `proposalsRefused`.
    public var token: UInt64
    public var payload: [UInt8]
    /// Whether it may change what nodes with a ``HolderLease`` answer from their own state. RaftCore cannot tell: unless its proposer
    /// knows better, it does.
    public var isGuarded: Bool
    /// The follower that forwarded it and waits to apply it: it hears of the commit at once.
    public var origin: NodeID?

    public init(token: UInt64, payload: [UInt8], isGuarded: Bool = true, origin: NodeID? = nil) {
        self.token = token
        self.payload = payload
        self.isGuarded = isGuarded
        self.origin = origin
    }
}
