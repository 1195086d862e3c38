internal import EsperProtocol
internal import SwiftProtobuf

/// Which node holds which shard of the digests, as one node has applied it.
public struct ShardPlaces: Hashable, Sendable {
    /// A node that can hold blobs.
    public struct Host: Hashable, Sendable {
        public let id: UInt64
        public let name: String
        /// Its share relative to the others'.
        public let weight: UInt32
        public let zone: String
        public let isDraining: Bool
        public let isDown: Bool
        /// Shards that it coordinates, and shards of which it holds copies.
        public let owned: Int
        public let held: Int

        public init(
            id: UInt64, name: String, weight: UInt32 = 100, zone: String = "", isDraining: Bool = false,
            isDown: Bool = false, owned: Int, held: Int
        ) {
            self.id = id
            self.name = name
            self.weight = weight
            self.zone = zone
            self.isDraining = isDraining
            self.isDown = isDown
            self.owned = owned
            self.held = held
        }
    }

    public struct Shard: Hashable, Sendable {
        /// Ids of hosts, the owner first.
        public let members: [UInt64]
        public let epoch: UInt64
        /// `stable`, `planned`, `copy`, `verify`, `flip` or `drain`.
        public let step: String
        /// While it moves: where to.
        public let target: [UInt64]

        public init(members: [UInt64], epoch: UInt64, step: String, target: [UInt64]) {
            self.members = members
            self.epoch = epoch
            self.step = step
            self.target = target
        }
    }

    /// 0: there is no map yet.
    public let epoch: UInt64
    public let copies: Int
    public let hosts: [Host]
    public let shards: [Shard]

    public init(epoch: UInt64, copies: Int, hosts: [Host], shards: [Shard]) {
        self.epoch = epoch
        self.copies = copies
        self.hosts = hosts
        self.shards = shards
    }

    init(_ message: ProtoShardMapResponse) {
        epoch = message.epoch
        copies = Int(message.copies)
        hosts = message.hosts.map {
            Host(
                id: $0.id, name: $0.name, weight: $0.weight, zone: $0.zone, isDraining: $0.draining, isDown: $0.down,
                owned: Int($0.owned), held: Int($0.held))
        }
        shards = message.shards.map {
            Shard(members: $0.members, epoch: $0.epoch, step: $0.step, target: $0.target)
        }
    }
}

/// What to do about the moves of shards.
public enum RebalanceAction: Hashable, Sendable {
    case status
    /// Tells what ``start`` would move.
    case plan
    /// Plans what is out of balance, and goes on moving shards after changes of the hosts.
    case start
    /// Ends the moves that can be ended; nothing moves for balance until the next ``start``.
    case cancel
    /// Nil stays as it is.
    case throttle(bytesPerSecond: UInt64?, maximumIncoming: UInt8?, maximumOutgoing: UInt8?)

    var message: ProtoRebalanceRequest {
        .with {
            switch self {
            case .status: $0.status = .init()
            case .plan: $0.plan = .init()
            case .start: $0.start = .init()
            case .cancel: $0.cancel = .init()
            case .throttle(let rate, let incoming, let outgoing):
                $0.throttle = .with {
                    if let rate { $0.bytesPerSecond = rate }
                    if let incoming { $0.maximumIncoming = UInt32(incoming) }
                    if let outgoing { $0.maximumOutgoing = UInt32(outgoing) }
                }
            }
        }
    }
}

/// How far the moves of shards are.
public struct RebalanceStatus: Hashable, Sendable {
    public struct Move: Hashable, Sendable {
        public let shard: UInt32
        /// `stable`: not planned yet.
        public let step: String
        /// `balance`, `drain` or `repair`.
        public let reason: String
        /// Names of nodes, the owner first.
        public let from: [String]
        public let to: [String]
        /// For each node that joins.
        public let estimatedBytes: UInt64
    }

    /// Of the map; 0: there is none yet.
    public let epoch: UInt64
    public let moves: [Move]
    /// Still to be copied, as far as it is known.
    public let leftBytes: UInt64
    public let copiedBytes: UInt64
    /// Nil: nothing has been measured.
    public let bytesPerSecond: UInt64?
    /// Shards are moved for balance only after ``RebalanceAction/start``.
    public let isManual: Bool
    public let maximumBytesPerSecond: UInt64
    public let maximumIncoming: UInt32
    public let maximumOutgoing: UInt32
    /// Nodes that did not tell how far they are.
    public let unreachable: [String]
    /// Moves that the request has planned or ended.
    public let changed: UInt32

    /// At the measured speed; nil while there is none.
    public var remaining: Duration? {
        guard let bytesPerSecond, bytesPerSecond > 0 else { return nil }
        return .milliseconds(Int64(Double(leftBytes) / Double(bytesPerSecond) * 1000))
    }

    init(_ message: ProtoRebalanceResponse) {
        epoch = message.epoch
        moves = message.moves.map {
            Move(
                shard: $0.shard, step: $0.step, reason: $0.reason, from: $0.from, to: $0.to,
                estimatedBytes: $0.estimatedBytes)
        }
        leftBytes = message.leftBytes
        copiedBytes = message.copiedBytes
        bytesPerSecond = message.bytesPerSecond == 0 ? nil : message.bytesPerSecond
        isManual = message.manual
        maximumBytesPerSecond = message.maximumBytesPerSecond
        maximumIncoming = message.maximumIncoming
        maximumOutgoing = message.maximumOutgoing
        unreachable = message.unreachable
        changed = message.changed
    }
}
