public import EsperTypes

/// A change of the ``ShardMap``, as an entry of the log.
///
/// Whatever names a shard also names what the proposer believed of it; a duplicate, or one that was late, changes nothing.
public enum MapCommand: Hashable, Sendable {
    /// Makes the map; refused when there is one. The proposer's ``PlacementPlanner`` has placed every shard, so that what is
    /// applied never depends on how it calculates.
    case found(hosts: [ShardMap.Host], placements: [Placement], copies: Int)
    /// Adds a host, or changes its weight and zone.
    case admit(NodeID, weight: UInt32, zone: String)
    /// A host that is no member any more: leaves the map, like one that is dead.
    case remove(NodeID)
    /// Its node lease is over: it leaves every set in which somebody else is left.
    case down(NodeID, seen: MapEpoch)
    case up(NodeID, seen: MapEpoch)
    case setDraining(NodeID, Bool)
    /// Puts shards into PLANNED.
    case plan([PlannedMove])
    /// Takes each move to its next step.
    case advance([StepChange])
    /// A joining member has pulled everything (COPY), or holds all that the old set holds (VERIFY).
    case finish([StepChange], by: NodeID)
    /// Ends moves that have not flipped; the old sets stay.
    case cancel([StepChange])
    /// Gives shards without a living member to others.
    case revive([Revival])
    /// The set holds what the stray held.
    case forgetStray(ShardID, NodeID, epoch: ShardEpoch)
    case setThrottle(Throttle)
    case setCopies(Int)
    case setManual(Bool)
}

extension MapCommand {
    /// Whether it keeps within ``MapLimits``, whatever the map is.
    public var isBounded: Bool {
        func isBounded(_ weight: UInt32, _ zone: String) -> Bool {
            MapLimits.weight.contains(weight) && zone.utf8.count <= MapLimits.zoneBytes
        }
        return switch self {
        case .found(let hosts, let placements, let copies):
            (1...MapLimits.hosts).contains(hosts.count) && hosts.allSatisfy { isBounded($0.weight, $0.zone) }
                && placements.count == ShardID.count && placements.allSatisfy(\.isBounded)
                && MapLimits.copies.contains(copies)
        case .admit(_, let weight, let zone): isBounded(weight, zone)
        case .plan(let moves): (1...ShardID.count).contains(moves.count) && moves.allSatisfy(\.to.isBounded)
        case .advance(let changes), .cancel(let changes), .finish(let changes, _):
            (1...ShardID.count).contains(changes.count)
        case .revive(let revivals):
            (1...ShardID.count).contains(revivals.count) && revivals.allSatisfy(\.to.isBounded)
        case .setCopies(let copies): MapLimits.copies.contains(copies)
        case .remove, .down, .up, .setDraining, .forgetStray, .setThrottle, .setManual: true
        }
    }
}

extension Placement {
    /// Whether it is one of at most as many members as a map may ask for, each once.
    var isBounded: Bool { members.count <= MapLimits.copies.upperBound && Set(members).count == members.count }
}

/// A shard that is to move.
public struct PlannedMove: Hashable, Sendable {
    public var shard: ShardID
    /// What the planner saw.
    public var epoch: ShardEpoch
    public var to: Placement
    public var reason: ShardMap.Move.Reason
    public var estimatedBytes: UInt64

    public init(
        shard: ShardID, epoch: ShardEpoch, to: Placement, reason: ShardMap.Move.Reason, estimatedBytes: UInt64 = 0
    ) {
        self.shard = shard
        self.epoch = epoch
        self.to = to
        self.reason = reason
        self.estimatedBytes = estimatedBytes
    }
}

/// The step that a move is believed to be in.
public struct StepChange: Hashable, Sendable {
    public var shard: ShardID
    public var move: MoveID
    public var step: ShardMap.Step
    public var epoch: ShardEpoch

    public init(shard: ShardID, move: MoveID, step: ShardMap.Step, epoch: ShardEpoch) {
        self.shard = shard
        self.move = move
        self.step = step
        self.epoch = epoch
    }
}

/// A shard that has lost all of its members.
public struct Revival: Hashable, Sendable {
    public var shard: ShardID
    public var epoch: ShardEpoch
    public var to: Placement

    public init(shard: ShardID, epoch: ShardEpoch, to: Placement) {
        self.shard = shard
        self.epoch = epoch
        self.to = to
    }
}

/// What came of a ``MapCommand``.
public struct MapReply: Hashable, Sendable {
    /// The map's version afterwards.
    public var epoch: MapEpoch
    /// How many of the command's changes were made.
    public var applied: UInt32
    /// How many were too late, or made no sense.
    public var refused: UInt32

    public init(epoch: MapEpoch, applied: UInt32, refused: UInt32) {
        self.epoch = epoch
        self.applied = applied
        self.refused = refused
    }
}

/// Bounds of what a map can hold.
public enum MapLimits {
    public static let hosts = 256
    public static let zoneBytes = 128
    public static let copies = 1...3
    public static let weight: ClosedRange<UInt32> = 0...1_000_000
}
