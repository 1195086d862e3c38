public import EsperTypes

/// The replicated state machine: keyspace, sessions, locks, elections, request table and outbox behind one log.
///
/// A value. Copying it is O(1): copies share structure and a change copies only the path it touches, so a copy handed
/// to another thread (a snapshot, a long read) stays as it is while apply goes on. What it becomes depends on the
/// entries alone: no clock, no randomness, no identity of the node.
public struct StateMachine: Sendable {
    public init() {}

    /// The last entry applied.
    public var applied: EntryID { .zero }

    /// The keyspace's revision; a new cluster starts at 1, as etcd's does.
    public var revision: Revision { Revision(1) }

    /// The lowest revision that can be read; 0 before the first compaction.
    public var compactedRevision: Revision { .zero }

    /// The replicated clock in nanoseconds since 1970: the highest stamp applied.
    public var time: UInt64 { 0 }

    /// Applies a committed command entry. Never fails: what cannot be done or read has a typed refusal as its result.
    ///
    /// - Parameters:
    ///   - index: one above ``applied``.
    ///   - payload: an encoded ``Envelope``.
    ///   - output: what happened is appended.
    public mutating func apply(index: LogIndex, term: Term, payload: [UInt8], into output: inout ApplyOutput) {}

    /// Passes over a committed entry that is no command (a no-op or a configuration).
    public mutating func skip(index: LogIndex, term: Term) {}

    /// Answers a read from this replica's state.
    public func answer(_ query: Query) -> QueryReply {
        QueryReply(revision: revision, appliedIndex: applied.index, result: .refused(.keyNotFound))
    }

    /// A digest of everything that apply depends on, equal on replicas that applied the same entries, whether live or
    /// restored. Cost: O(state); take it of a copy on another thread.
    public var stateHash: UInt64 { 0 }

    /// A digest of everything applied so far and what came of it; replicas at the same index must agree. O(1).
    public var applyChain: UInt64 { 0 }

    /// Every session, for ``SessionClock/init(sessions:at:)`` after a restore. In order of ID.
    public var sessionGrants: [SessionGrant] { [] }

    /// Records above `position`, in order: what the leader hands to the catalog.
    public func outboxRecords(after position: OutboxRecord.ID, limit: Int) -> [OutboxRecord] { [] }
}
