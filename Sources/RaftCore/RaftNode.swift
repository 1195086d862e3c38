public import EsperTypes

/// One member's share of a Raft cluster (Ongaro and Ousterhout 2014), as a value.
///
/// The driver owns it and alternates: ``step(_:at:into:)`` for each event of a turn of its loop, then one
/// ``flush(at:into:)``, then it performs the effects in order. Nothing here reads a clock, draws from a global
/// generator, suspends or does I/O.
public struct RaftNode: Sendable {
    /// - Parameters:
    ///   - id: this node; need not be a member of the configuration yet.
    ///   - restored: what storage found; the state machine has been restored from `restored.snapshot` already.
    ///   - seed: for timeouts and request numbers; must differ between the lives of a node.
    ///   - now: the moment of the start, on the clock of all later instants.
    public init(
        options: RaftOptions = RaftOptions(), id: NodeID, restored: RestoredState, seed: UInt64, at now: Instant
    ) {
        preconditionFailure("not built yet")
    }

    /// Takes one event in. Most of its consequences wait for the flush that ends the turn.
    public mutating func step(_ event: Event, at now: Instant, into effects: inout [Effect]) {}

    /// Ends a turn: at most one persist batch, then one AppendEntries per follower and window, one acknowledgement to
    /// the leader, what has become committed and durable to apply, and reads that are ready.
    public mutating func flush(at now: Instant, into effects: inout [Effect]) {}

    /// When to step `deadlineReached` unless something else happens first. Changes with every step and flush.
    public var nextDeadline: Instant { .distantFuture }

    /// - Complexity: O(members).
    public var status: RaftStatus { preconditionFailure("not built yet") }

    /// What a snapshot of the state machine at `index` must name; nil when the log does not hold `index` any more.
    public func snapshotBasis(at index: LogIndex) -> SnapshotBasis? { nil }

    /// Traps, with the values, when the node's state contradicts itself. Meant for tests and simulations, after every step.
    public func checkInvariants() {}
}
