public import EsperTypes

/// What can happen to a node. The driver steps each, then flushes once.
public enum Event: Hashable, Sendable {
    /// A peer's message. Messages of one peer should come in the order of its link, and need not.
    case received(Message, from: NodeID)
    /// ``RaftNode/nextDeadline`` has passed. Harmless when it has not.
    case deadlineReached
    /// Commands to append, in this order.
    case propose([Proposal])
    /// Linearizable reads that wait for an index; each token comes back in `readReady` or `readRefused`.
    case read([UInt64])
    /// Hand leadership to a voter; nil picks the one best prepared.
    case transferLeadership(to: NodeID?)
    /// Change who votes and who listens. Answered under the token by ``Effect/configurationChange(token:_:)``.
    case changeConfiguration(token: UInt64, ConfigurationRequest)
    /// All writes up to this sequence are durable. May skip sequences, never goes back.
    case persisted(through: WriteSequence)
    /// The state machine has applied (or been restored) through this index.
    case applied(through: LogIndex)
    /// A link to the peer is usable.
    case linkUp(NodeID)
    /// The link to the peer was closed: a hint that the peer is gone, never a proof.
    case linkDown(NodeID)
    /// The driver made a snapshot of the state machine and it is durable. The log may be cut before `retainFrom`.
    case snapshotTaken(SnapshotDescriptor, retainFrom: LogIndex)
    /// Answers `readSnapshotChunk`.
    case snapshotChunkRead(to: NodeID, SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool)
    /// The snapshot cannot be read (any more); the node starts over with its newest one.
    case snapshotReadFailed(to: NodeID, SnapshotDescriptor)
    /// Answers `writeSnapshotChunk`: everything before `through` is written (not necessarily synced).
    case snapshotChunkWritten(SnapshotDescriptor, through: UInt64)
    /// After the last chunk: the file's checksum is right, it is synced, and stands in its place.
    case snapshotInstalled(SnapshotDescriptor)
    /// The received bytes could not be written or have the wrong checksum: forget them, the transfer starts over.
    case snapshotWriteFailed(SnapshotDescriptor)
    /// The driver's own view that the disk hangs, or works again. The node also finds out by itself, from writes
    /// that take longer than ``RaftOptions/storageStallLimit``.
    case storageStalled(Bool)
    /// The disk has no room (or has room again) for more than terms and votes: take no entries.
    case storageFull(Bool)
    /// Whom an operator wants to lead nothing for a while, as far as this node knows; itself among them, perhaps.
    case setAside([NodeID])
    /// The others have removed this node, and said so: it is to campaign no more.
    case excluded
    /// Refuse (or accept again) proposals for a reason outside consensus, such as a slow apply.
    case admission(paused: Bool)
}
