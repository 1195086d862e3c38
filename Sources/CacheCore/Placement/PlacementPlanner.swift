import EsperTypes

/// Decides who should hold which shard: weighted rendezvous hashing under a cap on load, spread over zones, and never moving more
/// than the change of hosts asks for.
///
/// A pure function of hosts and the placement before. Copies that can stay do stay; missing ones go to the host that draws highest
/// for the shard among those below the cap; then hosts far below their share get copies of the most loaded ones, in the order of their
/// own draws, until they have it. The owner stays while it can; too unequal numbers of owners are evened out within the sets, which
/// moves no bytes.
///
/// Where the cap and the spread over zones contradict each other, the cap wins.
public struct PlacementPlanner: Sendable {
    /// Of each blob; with fewer hosts there are fewer.
    public var copies: Int
    /// A host may have this many times its share.
    public var loadCap = 1.05
    /// A host with less than this part of its share gets more although nothing else asks for it.
    public var loadFloor = 0.95

    public init(copies: Int) {
        precondition(MapLimits.copies.contains(copies), "\(copies) copies")
        self.copies = copies
    }

    /// - Parameter previous: one for each shard, or none at all; members that are no eligible hosts any more are replaced.
    /// - Returns: one for each shard; nil when no host is eligible.
    public func placements(hosts: [ShardMap.Host], previous: [Placement] = []) -> [Placement]? {
        placements(hosts: hosts, previous: previous, shards: ShardID.count)
    }

    /// - Parameter shards: how many there are; simulated maps are small.
    package func placements(hosts: [ShardMap.Host], previous: [Placement], shards: Int) -> [Placement]? {
        precondition(previous.isEmpty || previous.count == shards, "a placement for each shard")
        let eligible = hosts.filter(\.isEligible).sorted { $0.id < $1.id }
        guard !eligible.isEmpty else { return nil }
        var draft = PlacementDraft(
            hosts: eligible, shards: shards, copies: min(copies, eligible.count), cap: loadCap, floor: loadFloor)
        draft.keep(previous)
        draft.fill()
        draft.levelCopies()
        draft.levelOwners()
        return draft.placements
    }

    /// The moves that lead from the map as it is to the map as it should be, each shard once: those that only change the owner
    /// first, then those from and to the most unequal hosts.
    ///
    /// Shards that are moving are left alone, and count as being where they go.
    public func moves(for map: ShardMap) -> [PlannedMove] {
        let previous = map.shards.map { $0.move?.to ?? $0.placement }
        guard let wanted = placements(hosts: map.hosts, previous: previous, shards: map.shards.count) else { return [] }
        var load: [NodeID: Int] = [:]
        for placement in previous { for node in placement.members { load[node, default: 0] += 1 } }
        for placement in wanted { for node in placement.members { load[node, default: 0] -= 1 } }
        var moves: [(order: Int, move: PlannedMove)] = []
        for (number, shard) in map.shards.enumerated() where shard.step == .stable && wanted[number] != shard.placement
        {
            let (old, new) = (shard.placement, wanted[number])
            // The order of replicas alone is worth no move.
            if old.owner == new.owner, Set(old.replicas) == Set(new.replicas) { continue }
            let joining = new.members.filter { !old.contains($0) }
            let leaving = old.members.filter { !new.contains($0) }
            let order: Int =
                if joining.isEmpty { .max } else {
                    leaving.reduce(0) { $0 + load[$1, default: 0] } - joining.reduce(0) { $0 + load[$1, default: 0] }
                }
            let reason: ShardMap.Move.Reason =
                if old.members.contains(where: { map.host($0).map { $0.isDraining || $0.isDown } ?? true }) {
                    .drain
                } else if old.members.count < new.members.count { .repair } else { .balance }
            let id = ShardID(number)!
            moves.append((order, PlannedMove(shard: id, epoch: shard.epoch, to: new, reason: reason)))
        }
        return moves.sorted { $0.order == $1.order ? $0.move.shard < $1.move.shard : $0.order > $1.order }.map(\.move)
    }
}
