public import EsperTypes

/// The cluster as one node sees it.
public struct ClusterStatus: Sendable, Hashable {
    public struct Member: Sendable, Hashable {
        public var id: NodeID
        public var name: String
        /// `leader`, `follower`, `candidate` or `learner`; `unknown` before it has joined, and while it is not reachable.
        public var role: String
        public var isVoter: Bool
        /// Whether the node that answers has a link to it, over which something came in the last three report intervals.
        public var isReachable: Bool
        public var appliedIndex: LogIndex
        /// The highest entry known to be durable there.
        public var matchIndex: LogIndex
        public var version: String
        /// Where peers reach it.
        public var address: String
        /// Where clients reach it.
        public var apiAddress: String
        public var zone: String
        /// Its disk has no room, so that it takes no entries; as a leader it refuses commands.
        public var isStorageFull: Bool
        /// Its state was found to be another than that of the node that answers, and has not agreed since.
        public var isStateDifferent: Bool
    }

    public var clusterID: ClusterID
    /// The node that answers.
    public var answeredBy: String
    public var leader: String?
    public var leaderAPIAddress: String?
    public var term: Term
    public var commitIndex: LogIndex
    public var appliedIndex: LogIndex
    public var revision: Revision
    public var outboxPending: Int
    public var members: [Member]
    /// The configuration in force while a change of members is not finished.
    public var pendingChange: String?
    public var readiness: Readiness
    public var isDraining: Bool
    public var isIsolated: Bool
}

/// A member as the replicated table has it, or the settings list it.
public struct ClusterMember: Sendable, Hashable {
    public var id: NodeID
    public var name: String
    public var peerHost: String
    public var peerPort: Int
    public var apiAddress: String
    public var zone: String

    public init(id: NodeID, name: String, peerHost: String, peerPort: Int, apiAddress: String, zone: String) {
        self.id = id
        self.name = name
        self.peerHost = peerHost
        self.peerPort = peerPort
        self.apiAddress = apiAddress
        self.zone = zone
    }
}
