public import EsperTypes

/// What a node must remember before it answers anyone (§5.1, figure 2 "persistent state").
public struct HardState: Hashable, Sendable {
    public var term: Term
    /// Whom this node voted for in `term`.
    public var vote: NodeID?

    public init(term: Term = .zero, vote: NodeID? = nil) {
        self.term = term
        self.vote = vote
    }
}

/// Names one snapshot and says what it replaces (§7).
public struct SnapshotDescriptor: Hashable, Sendable {
    /// The last entry the snapshot includes.
    public var id: EntryID
    /// The configuration in force at `id`.
    public var configuration: Configuration
    /// Where that configuration was appended; zero for the first one.
    public var configurationIndex: LogIndex
    public var sizeBytes: UInt64
    /// CRC-32C over the whole file, checked before a received snapshot is put in place.
    public var checksum: UInt32
    /// The state machine's own hash of its state, for comparing members at an equal index.
    public var stateHash: UInt64

    public init(
        id: EntryID,
        configuration: Configuration,
        configurationIndex: LogIndex = .zero,
        sizeBytes: UInt64,
        checksum: UInt32,
        stateHash: UInt64 = 0
    ) {
        self.id = id
        self.configuration = configuration
        self.configurationIndex = configurationIndex
        self.sizeBytes = sizeBytes
        self.checksum = checksum
        self.stateHash = stateHash
    }

    @inlinable
    public var index: LogIndex { id.index }
}

/// What a snapshot of the state machine at one index must name; from ``RaftNode/snapshotBasis(at:)``.
public struct SnapshotBasis: Hashable, Sendable {
    public var id: EntryID
    public var configuration: Configuration
    public var configurationIndex: LogIndex

    package init(id: EntryID, configuration: Configuration, configurationIndex: LogIndex) {
        self.id = id
        self.configuration = configuration
        self.configurationIndex = configurationIndex
    }
}

/// Permission to forget the front of the log.
public struct Compaction: Hashable, Sendable {
    /// A durable snapshot of this node at or after `through`.
    public var snapshot: SnapshotDescriptor
    /// Entries up to and including this one are needed no more.
    public var through: EntryID

    public init(snapshot: SnapshotDescriptor, through: EntryID) {
        self.snapshot = snapshot
        self.through = through
    }
}

/// Everything one turn wants on disk. Batches are written in the order of their sequence and become durable in it.
///
/// The parts take effect together, in this order: `hardState`, `truncateFrom`, `installedSnapshot`, `entries`,
/// `compaction`. After a crash either the whole batch counts or none of it.
public struct WriteBatch: Hashable, Sendable {
    /// One more than the batch before it; the first of a node's life is 1.
    public var sequence: WriteSequence
    public var hardState: HardState?
    /// Drop this entry and all after it.
    public var truncateFrom: LogIndex?
    /// A snapshot received from the leader, already verified, synced and in its place: the log now begins right
    /// after it, and this record is the commit point of the installation. Whatever the log still holds
    /// after `id` (after `truncateFrom`) is kept.
    public var installedSnapshot: SnapshotDescriptor?
    /// To append; consecutive, the first follows the last entry that is left.
    public var entries: [Entry]
    /// The front of the log that may be given back.
    public var compaction: Compaction?

    public init(
        sequence: WriteSequence,
        hardState: HardState? = nil,
        truncateFrom: LogIndex? = nil,
        installedSnapshot: SnapshotDescriptor? = nil,
        entries: [Entry] = [],
        compaction: Compaction? = nil
    ) {
        self.sequence = sequence
        self.hardState = hardState
        self.truncateFrom = truncateFrom
        self.installedSnapshot = installedSnapshot
        self.entries = entries
        self.compaction = compaction
    }
}

/// The beginning of a snapshot that a leader was sending when this node stopped; verified.
public struct PartialSnapshot: Hashable, Sendable {
    public var descriptor: SnapshotDescriptor
    /// How much of the content is there.
    public var writtenBytes: UInt64

    public init(descriptor: SnapshotDescriptor, writtenBytes: UInt64) {
        self.descriptor = descriptor
        self.writtenBytes = writtenBytes
    }
}

/// What a node finds on its disk when it starts.
///
/// The state machine has been restored from `snapshot` (or is empty) before the node is made.
public struct RestoredState: Hashable, Sendable {
    public var hardState: HardState
    /// The cluster's first configuration; counts until a snapshot or an entry carries another.
    public var configuration: Configuration
    /// The newest usable snapshot.
    public var snapshot: SnapshotDescriptor?
    /// The entry just before `entries.first`; at or before the snapshot's.
    public var compactedThrough: EntryID
    /// Consecutive entries after `compactedThrough`. They reach at least to the snapshot when they begin before it.
    public var entries: [Entry]
    /// What this node promised in terms up to this one may have been lost with damaged storage; see ``Quarantine``.
    public var lostThrough: Term?
    /// A snapshot on its way in: a leader that still sends it is told where to go on.
    public var receiving: PartialSnapshot?

    /// - Parameter compactedThrough: the snapshot's entry when nil, or the beginning of the log without a snapshot.
    public init(
        hardState: HardState = HardState(),
        configuration: Configuration,
        snapshot: SnapshotDescriptor? = nil,
        compactedThrough: EntryID? = nil,
        entries: [Entry] = [],
        lostThrough: Term? = nil,
        receiving: PartialSnapshot? = nil
    ) {
        self.hardState = hardState
        self.configuration = configuration
        self.snapshot = snapshot
        self.compactedThrough = compactedThrough ?? snapshot?.id ?? .zero
        self.entries = entries
        self.lostThrough = lostThrough
        self.receiving = receiving
    }
}
