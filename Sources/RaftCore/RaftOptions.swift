import EsperTypes

/// Times and bounds of a node. The defaults suit nodes on one local network with solid-state disks.
public struct RaftOptions: Hashable, Sendable {
    /// The longest a leader stays silent towards a follower.
    public var heartbeatInterval: Duration = .milliseconds(30)
    /// A follower campaigns after a silence between this and twice this; a leader that has not heard a quorum for
    /// this long steps down. Five heartbeats: four may be late or lost.
    public var electionTimeout: Duration = .milliseconds(150)
    /// When the leader's link closes, the first in rank asks for pre-votes after this, each next one later by `linkHintStagger`.
    public var linkHintDelay: Duration = .milliseconds(2)
    /// Wide enough for a pre-vote round trip, one sync and a vote request, so that the second hears of the first.
    public var linkHintStagger: Duration = .milliseconds(10)
    /// No slot is later than this.
    public var linkHintLimit: Duration = .milliseconds(25)
    /// How often an attempt that began with a closed link is repeated at short intervals: the others may see
    /// their close a moment later.
    public var linkHintRetries = 4

    /// How long word of a commit may wait for an append that carries it, towards a follower that does not wait for it.
    public var commitNoticeDelay: Duration = .milliseconds(1)
    /// How long a read round waits for the followers that a quorum needs before it asks the others too.
    public var readRoundPatience: Duration = .milliseconds(2)

    /// How long a new leader waits for reads that its predecessor may serve without asking anybody, and how long it
    /// would serve them itself; zero: every read is confirmed by a quorum. See ``ReadLease``.
    public var readLease: Duration = .zero
    /// How long leases last by which nodes answer from their own state, and how long a leader that is elected with this node's vote waits for
    /// those that its predecessor may have granted to nodes that are silent; zero: this node grants and asks for none, and its vote makes nobody wait.
    /// Nodes may differ: leases are as long as the voters of a quorum have it. See ``HolderLease``.
    public var holderLease: Duration = .zero
    /// The most that a clock's rate is wrong by.
    public var clockDriftPermille = 5

    /// Payload bytes of one AppendEntries, unless a single entry is larger.
    public var maximumAppendBytes = Limits.appendBytes
    /// AppendEntries with entries on the way to one follower. More defeats batching on a local network.
    public var maximumInFlightAppends = 4
    /// Payload bytes on the way to one follower: the number of appends times their size.
    public var maximumInFlightBytes = 4 * Limits.appendBytes
    /// Proposals beyond this many uncommitted payload bytes are refused.
    public var maximumUncommittedBytes = 64 << 20
    /// Proposals beyond this many uncommitted entries are refused.
    public var maximumUncommittedEntries = 131_072
    /// Reads beyond this many waiting ones are refused.
    public var maximumWaitingReads = 131_072
    /// Entries handed to the state machine and not yet reported as applied.
    public var maximumUnappliedEntries = 16_384
    /// Bytes of one snapshot chunk.
    public var snapshotChunkBytes = Limits.snapshotChunkBytes
    /// Of a snapshot, to one follower; zero: as fast as it goes.
    public var snapshotBytesPerSecond = 128 << 20
    /// A snapshot chunk unanswered for this long is sent again.
    public var snapshotRetryInterval: Duration = .milliseconds(500)
    /// While a snapshot is on its way to a follower the log keeps what comes after it, up to this many payload bytes.
    public var maximumRetainedBytes = 64 << 20
    /// A learner may become a voter when its log ends at most so many entries before the leader's: what a leader
    /// under load has on its way to followers that keep up.
    public var maximumPromotionLag = 4096
    /// A leader whose oldest write has waited for this long stops admitting and hands over.
    public var storageStallLimit: Duration = .milliseconds(500)

    public init() {}

    /// Whether the values fit together.
    public var isValid: Bool {
        heartbeatInterval > .zero && electionTimeout >= heartbeatInterval * 2 && linkHintDelay >= .zero
            && linkHintLimit >= linkHintDelay && linkHintLimit <= electionTimeout && linkHintRetries >= 0
            && commitNoticeDelay >= .zero && readRoundPatience >= .zero && readLease >= .zero
            && (holderLease == .zero || holderLease >= heartbeatInterval * 2)
            && (0..<500).contains(clockDriftPermille)
            && maximumAppendBytes > 0 && maximumInFlightAppends > 0 && maximumInFlightBytes >= maximumAppendBytes
            && maximumUncommittedBytes >= Limits.entryPayloadBytes && maximumUncommittedEntries > 0
            && maximumWaitingReads > 0 && maximumUnappliedEntries > 0 && snapshotChunkBytes > 0
            && snapshotBytesPerSecond >= 0 && snapshotRetryInterval > .zero && maximumPromotionLag >= 0
            && storageStallLimit > .zero
    }
}
