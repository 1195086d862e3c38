public import CacheCore
public import EsperTypes

/// What operators ask about where shards are. The requests and replies of ``ArtifactCache``'s `rebalance` and `shardMap`.
public struct RebalanceRequest: Sendable {
    public enum Action: Hashable, Sendable {
        /// How far the moves are.
        case status
        /// What ``start`` would move.
        case plan
        /// Plans what is out of balance, and goes on moving shards after changes of the hosts.
        case start
        /// Ends the moves that can be ended, and moves nothing for balance until the next ``start``.
        case cancel
        case throttle(ThrottleChange)
    }

    public var action: Action
    public var principal: String
    public var deadline: Instant

    public init(_ action: Action, principal: String, deadline: Instant) {
        self.action = action
        self.principal = principal
        self.deadline = deadline
    }
}

/// What of a ``Throttle`` changes; nil stays as it is.
public struct ThrottleChange: Hashable, Sendable {
    public var bytesPerSecond: UInt64?
    public var maximumIncoming: UInt8?
    public var maximumOutgoing: UInt8?

    public init(bytesPerSecond: UInt64? = nil, maximumIncoming: UInt8? = nil, maximumOutgoing: UInt8? = nil) {
        self.bytesPerSecond = bytesPerSecond
        self.maximumIncoming = maximumIncoming
        self.maximumOutgoing = maximumOutgoing
    }

    /// Slower than this, moves would hardly end; and no count may be zero.
    public static let leastBytesPerSecond: UInt64 = 64 << 10

    public var isPossible: Bool {
        bytesPerSecond ?? Self.leastBytesPerSecond >= Self.leastBytesPerSecond && maximumIncoming != 0
            && maximumOutgoing != 0
    }
}

public struct RebalanceReply: Sendable {
    public struct Move: Hashable, Sendable {
        public var shard: ShardID
        /// Nil: not planned yet.
        public var id: MoveID?
        public var step: ShardMap.Step
        public var reason: ShardMap.Move.Reason
        /// Names of nodes, the owner first.
        public var from: [String]
        public var to: [String]
        /// For each node that joins.
        public var estimatedBytes: UInt64

        public init(
            shard: ShardID, id: MoveID?, step: ShardMap.Step, reason: ShardMap.Move.Reason, from: [String],
            to: [String], estimatedBytes: UInt64
        ) {
            self.shard = shard
            self.id = id
            self.step = step
            self.reason = reason
            self.from = from
            self.to = to
            self.estimatedBytes = estimatedBytes
        }
    }

    /// Zero: there is no map yet.
    public var epoch = MapEpoch.zero
    public var moves: [Move] = []
    public var leftBytes: UInt64 = 0
    public var copiedBytes: UInt64 = 0
    /// Of all nodes together; 0: nothing has been measured.
    public var bytesPerSecond: UInt64 = 0
    public var isManual = false
    public var throttle = Throttle()
    /// Nodes that did not tell how far they are.
    public var unreachable: [String] = []
    /// Moves that the request has planned or ended.
    public var changed: UInt32 = 0

    public init() {}
}

/// The map as this node has applied it.
public struct ShardMapReply: Sendable {
    public var map: ShardMap?
    public var names: [NodeID: String]

    public init(map: ShardMap?, names: [NodeID: String]) {
        self.map = map
        self.names = names
    }
}
