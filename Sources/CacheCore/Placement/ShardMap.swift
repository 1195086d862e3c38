public import EsperTypes

/// A version of the whole map: every command that changes anything makes the next one.
public struct MapEpoch: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A version of one shard's placement: peers refuse a request with an older one and answer with the newer map.
public struct ShardEpoch: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names one move of one shard; never given twice.
public struct MoveID: Counter {
    public var rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Who holds a shard's blobs.
public struct Placement: Hashable, Sendable {
    /// The one that coordinates: compile tokens, and who to ask first.
    public var owner: NodeID
    /// The others that hold copies, in the order in which they would take over; the owner is not among them.
    public var replicas: [NodeID]

    public init(owner: NodeID, replicas: [NodeID] = []) {
        self.owner = owner
        self.replicas = replicas
    }

    /// All that hold copies, the owner first.
    public var members: [NodeID] { [owner] + replicas }

    /// How many hold copies.
    public var count: Int { 1 + replicas.count }

    public func contains(_ node: NodeID) -> Bool { owner == node || replicas.contains(node) }

    /// Whether one that holds copies is such a one.
    public func contains(where predicate: (NodeID) -> Bool) -> Bool {
        predicate(owner) || replicas.contains(where: predicate)
    }

    /// Without `node`; its first replica owns it when `node` did. Nil when nobody is left.
    public func removing(_ node: NodeID) -> Placement? {
        guard owner == node else { return Placement(owner: owner, replicas: replicas.filter { $0 != node }) }
        return replicas.first.map { Placement(owner: $0, replicas: Array(replicas.dropFirst())) }
    }
}

/// Where each digest's copies belong: part of the replicated state, the same on every node at the same applied index.
///
/// ```
///           plan        advance     advance      advance     advance       advance
///  STABLE e ────▶ PLANNED e ──▶ COPY e+1 ──▶ VERIFY e+1 ──▶ FLIP e+2 ──▶ DRAIN e+2 ──▶ STABLE e+3
///     ▲              │             │             │
///     └──── cancel ──┴─────────────┴─────────────┘   (epoch + 1; after FLIP a move is not cancelled any more)
/// ```
///
/// Everything here changes only by ``apply(_:to:)``, whose commands stand in the log: there are no ties between epochs, and a new leader
/// goes on from what it finds. Blobs are immutable and named by their SHA-256, so a wrong idea of this map costs a second request or a
/// second compilation, never a wrong answer.
public struct ShardMap: Hashable, Sendable {
    /// A node that can hold blobs.
    public struct Host: Hashable, Sendable {
        public var id: NodeID
        /// Its share relative to the others'; 0 holds nothing.
        public var weight: UInt32
        /// The failure domain; may be empty.
        public var zone: String
        /// Its shards move away, and none come.
        public var isDraining: Bool
        /// Its node lease is over: it holds nothing that counts, except where nobody else does.
        public var isDown: Bool
        /// When any of this changed last.
        public var epoch: MapEpoch

        public init(
            id: NodeID, weight: UInt32 = 100, zone: String = "", isDraining: Bool = false, isDown: Bool = false,
            epoch: MapEpoch = .zero
        ) {
            self.id = id
            self.weight = weight
            self.zone = zone
            self.isDraining = isDraining
            self.isDown = isDown
            self.epoch = epoch
        }

        /// Whether shards may be placed on it.
        public var isEligible: Bool { !isDraining && !isDown && weight > 0 }
    }

    /// How far a shard's move is.
    public enum Step: UInt8, Hashable, Sendable, CaseIterable, Comparable {
        case stable
        case planned
        /// New blobs go to both sets, and the joining members pull what they lack.
        case copy
        /// The joining members compare what they hold with the old set.
        case verify
        /// Nobody coordinates: the old owner has to stop first.
        case flip
        /// The new owner coordinates; the old set still answers for digests.
        case drain

        @inlinable
        public static func < (left: Step, right: Step) -> Bool { left.rawValue < right.rawValue }

        /// A stable word.
        public var name: String {
            switch self {
            case .stable: "stable"
            case .planned: "planned"
            case .copy: "copy"
            case .verify: "verify"
            case .flip: "flip"
            case .drain: "drain"
            }
        }
    }

    public struct Move: Hashable, Sendable {
        public enum Reason: UInt8, Hashable, Sendable, CaseIterable {
            case balance
            /// A host is draining or has left.
            case drain
            /// Copies are missing since a host's death.
            case repair

            /// A stable word.
            public var name: String {
                switch self {
                case .balance: "balance"
                case .drain: "drain"
                case .repair: "repair"
                }
            }
        }

        public var id: MoveID
        public var reason: Reason
        /// What the shard held when it was planned, as far as that was known.
        public var estimatedBytes: UInt64
        /// The old set, without those that have died since; nil when it has flipped and nobody is left.
        public var from: Placement?
        public var to: Placement
        /// Joining members that are done with this step's work.
        public var finished: [NodeID] = []

        /// Those that have to get copies.
        public var joining: [NodeID] { to.members.filter(isJoining) }

        public func isJoining(_ node: NodeID) -> Bool { to.contains(node) && !(from?.contains(node) ?? false) }

        /// Those that lose theirs.
        public var leaving: [NodeID] { from?.members.filter { !to.contains($0) } ?? [] }
        /// All of both sets.
        public var members: [NodeID] { to.members + leaving }
    }

    public struct Shard: Hashable, Sendable {
        /// The set in force: the old one until FLIP, then the new one.
        public internal(set) var placement: Placement
        public internal(set) var epoch: ShardEpoch
        public internal(set) var step: Step
        /// There is one exactly when the step is not ``Step/stable``.
        public internal(set) var move: Move?
        /// The map's version when this shard changed last. A node whose map is at least that new has seen the step.
        public internal(set) var since: MapEpoch
        /// Former members that may hold blobs which the set lacks, because the shard was given to others while none of its
        /// members was alive. They keep them until the set has them. One may be a member again, whose blobs the other members lack.
        public internal(set) var strays: [NodeID]
    }

    /// In order of ID.
    public internal(set) var hosts: [Host]
    /// ``ShardID/count`` of them.
    public internal(set) var shards: [Shard]
    public internal(set) var epoch: MapEpoch
    /// How many copies of each blob the cluster keeps, 1 ... 3.
    public internal(set) var copies: Int
    public internal(set) var throttle: Throttle
    /// Whether moves are planned only when an operator asks for them. Deaths are repaired all the same.
    public internal(set) var isManual: Bool
    /// The next move's name.
    public internal(set) var nextMove: MoveID

    public subscript(shard: ShardID) -> Shard { shards[Int(shard.rawValue)] }

    public subscript(digest: Digest) -> Shard { self[ShardID(of: digest)] }

    public func host(_ id: NodeID) -> Host? { hosts.first { $0.id == id } }

    /// Whether it is a host whose node lease is not known to be over.
    public func isUp(_ id: NodeID) -> Bool { hosts.contains { $0.id == id && !$0.isDown } }

    /// Who must acknowledge a new blob of `shard` before the shard counts as holding it: everybody who is up, and nobody
    /// suffices while no member of the set in force is up.
    public func requiredWriters(of shard: ShardID) -> [NodeID]? {
        let entry = self[shard]
        guard entry.placement.contains(where: isUp) else { return nil }
        return entry.writers.filter(isUp)
    }

    /// Whether `node` may delete its copies of the shard's blobs: it does not belong to it, and as many
    /// as there should be do, are up, and have them: one at least, also while no host may be given anything.
    public func isFree(_ shard: ShardID, of node: NodeID) -> Bool {
        let entry = self[shard]
        return entry.step == .stable && !entry.placement.contains(node) && !entry.strays.contains(node)
            && entry.placement.members.count(where: isUp) >= max(1, min(copies, hosts.count(where: \.isEligible)))
    }

    /// Moves that have not ended.
    public var movingCount: Int { shards.count { $0.step != .stable } }
}

extension ShardMap.Shard {
    /// Who may hand out compile tokens, as far as the map says; it must also hold its node lease. Nil while the owner changes.
    public var coordinator: NodeID? {
        guard step == .flip, move?.from?.owner != placement.owner else { return placement.owner }
        return nil
    }

    /// Whom to ask for a blob, the most likely first.
    public var readers: [NodeID] {
        guard let move, step == .verify || step == .flip || step == .drain else { return placement.members }
        return placement.members + (step == .verify ? move.joining : move.leaving)
    }

    /// Who must hold a new blob before it counts as held by the shard.
    public var writers: [NodeID] {
        guard let move, step == .copy || step == .verify || step == .flip else { return placement.members }
        return placement.members + (step == .flip ? move.leaving : move.joining)
    }

}

/// Bounds of what moves may take from the cluster.
public struct Throttle: Hashable, Sendable {
    /// Shards that come to one node at a time.
    public var maximumIncoming: UInt8
    /// Shards that leave one node at a time.
    public var maximumOutgoing: UInt8
    /// For each node that shards come to.
    public var bytesPerSecond: UInt64

    public init(maximumIncoming: UInt8 = 2, maximumOutgoing: UInt8 = 2, bytesPerSecond: UInt64 = 64 << 20) {
        self.maximumIncoming = maximumIncoming
        self.maximumOutgoing = maximumOutgoing
        self.bytesPerSecond = bytesPerSecond
    }
}
