public import CacheCore
public import EsperTypes

/// What a node tells the leader about itself and the map of shards.
public struct PeerReport: Hashable, Sendable {
    /// Without loads when they were told not long ago.
    public var said: RebalanceDriver.Report
    public var hasLoads: Bool
    /// Its share relative to the others'.
    public var weight: UInt32
    /// It wants its shards to move away.
    public var isDraining: Bool

    public init(said: RebalanceDriver.Report, hasLoads: Bool = false, weight: UInt32 = 100, isDraining: Bool = false) {
        self.said = said
        self.hasLoads = hasLoads
        self.weight = weight
        self.isDraining = isDraining
    }
}

/// The leader's answer.
public struct PeerReportReply: Hashable, Sendable {
    /// From when the report was sent; nil: no lease is given.
    public var lease: Duration?
    /// The lease counts once this map is applied.
    public var base: MapEpoch

    public init(lease: Duration?, base: MapEpoch) {
        self.lease = lease
        self.base = base
    }
}

/// What a node answers about a shard at an epoch.
public enum ShardAnswer<Value: Hashable & Sendable>: Hashable, Sendable {
    case value(Value)
    /// It knows the shard at another epoch, or holds no lease; its map is this one.
    case notOwner(map: MapEpoch)
}

/// The claim under which blobs of shards are asked for or given.
public struct ShardClaim: Hashable, Sendable {
    public var epoch: ShardEpoch
    /// The one who is asked is a former member, who needs no lease.
    public var isStray: Bool

    public init(epoch: ShardEpoch, isStray: Bool = false) {
        self.epoch = epoch
        self.isStray = isStray
    }
}

/// How far a node is with what moves to it.
public struct MoveProgress: Hashable, Sendable {
    public struct Move: Hashable, Sendable {
        public var id: MoveID
        public var copiedBytes: UInt64
        /// Of what was found missing.
        public var leftBytes: UInt64

        public init(id: MoveID, copiedBytes: UInt64, leftBytes: UInt64) {
            self.id = id
            self.copiedBytes = copiedBytes
            self.leftBytes = leftBytes
        }
    }

    public var moves: [Move]
    /// Measured while something was copied; 0: nothing was.
    public var bytesPerSecond: UInt64
    public var allowedBytesPerSecond: UInt64
    /// Since the node started.
    public var movedBytes: UInt64

    public init(moves: [Move], bytesPerSecond: UInt64, allowedBytesPerSecond: UInt64, movedBytes: UInt64) {
        self.moves = moves
        self.bytesPerSecond = bytesPerSecond
        self.allowedBytesPerSecond = allowedBytesPerSecond
        self.movedBytes = movedBytes
    }
}

/// About a shard that moves: what one of its old members holds. At epoch zero: what the node has, whatever it knows of the shard.
public struct ShardQuestion: Hashable, Sendable {
    /// In one question: ranges that are summed up, and ranges that are listed.
    public static let maximumRanges = 256
    public static let maximumListed = 32

    public var shard: ShardID
    public var epoch: ShardEpoch
    public var ranges: [MerkleRange]
    public var listed: [MerkleRange]

    public init(shard: ShardID, epoch: ShardEpoch, ranges: [MerkleRange] = [], listed: [MerkleRange] = []) {
        self.shard = shard
        self.epoch = epoch
        self.ranges = ranges
        self.listed = listed
    }
}

public struct ShardParts: Hashable, Sendable {
    /// One for each range.
    public var nodes: [MerkleNode]
    /// What is in the listed ranges.
    public var blobs: [BlobReference]

    public init(nodes: [MerkleNode], blobs: [BlobReference]) {
        self.nodes = nodes
        self.blobs = blobs
    }
}
