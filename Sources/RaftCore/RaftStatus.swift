public import EsperTypes

/// A look at a node, for operators, metrics and tests.
public struct RaftStatus: Hashable, Sendable {
    /// How far one member is, as its leader sees it.
    public struct Peer: Hashable, Sendable {
        public enum State: String, Hashable, Sendable, CaseIterable {
            /// Looking for the point where the logs agree; one append at a time.
            case probe
            /// Entries flow ahead of the answers.
            case replicate
            /// A snapshot is on its way.
            case snapshot
        }

        public var id: NodeID
        public var state: State
        /// The follower's log equals the leader's up to here, durably.
        public var match: LogIndex
        /// The next entry to send.
        public var next: LogIndex
        public var inFlightAppends: Int
        public var inFlightBytes: Int
        /// Bytes of the snapshot that are written at the follower.
        public var snapshotOffset: UInt64?
        /// When the follower last answered in this term.
        public var lastContact: Instant?
        public var isLinkDown: Bool
        /// Close enough to the end of the leader's log to be given a vote.
        public var isCaughtUp: Bool
        /// The follower has answered within an election timeout before the last event of the leader.
        public var isHeard: Bool
    }

    public var id: NodeID
    public var role: Role
    public var term: Term
    public var vote: NodeID?
    public var leader: NodeID?
    public var first: LogIndex
    public var last: EntryID
    /// The last entry of the log that is durable here.
    public var durable: LogIndex
    public var commit: LogIndex
    public var applied: LogIndex
    public var snapshot: SnapshotDescriptor?
    public var configuration: Configuration
    public var configurationIndex: LogIndex
    /// Whether the configuration in force is, as far as this node knows, not committed yet. While it is not, or while
    /// it is joint, no other change begins.
    public var isConfigurationPending: Bool
    /// Payload bytes the log holds in memory.
    public var logBytes: Int
    public var uncommittedBytes: Int
    public var waitingReads: Int
    /// Whom leadership is being handed to.
    public var transferTarget: NodeID?
    public var isStorageStalled: Bool
    /// Snapshots that are being sent and must not be removed.
    public var snapshotsInUse: [SnapshotDescriptor]
    /// The other members; empty unless this node leads.
    public var peers: [Peer]
}
