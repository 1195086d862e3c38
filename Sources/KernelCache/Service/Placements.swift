import CacheCore
import EsperTypes
import Synchronization

/// Who holds what, as this node sees it: by the map of shards, or, before there is one, by the planner over the members.
final class Placements: Sendable {
    private struct State {
        var members: [CacheMember] = []
        var planned: [Placement] = []
        var map: ShardMap?
    }

    private let state = Mutex(State())
    let me: NodeID
    let copies: Int

    init(me: NodeID, copies: Int) {
        self.me = me
        self.copies = copies
    }

    /// - Returns: whether anything changed.
    func update(_ members: [CacheMember], map: ShardMap?) -> Bool {
        state.withLock { state in
            let isOther = state.members != members || state.map?.epoch != map?.epoch
            if state.members != members, map == nil {
                let hosts = members.map { ShardMap.Host(id: $0.id, zone: $0.zone) }
                state.planned = PlacementPlanner(copies: copies).placements(hosts: hosts) ?? []
            }
            state.members = members
            state.map = map
            return isOther
        }
    }

    var members: [CacheMember] { state.withLock { $0.members } }
    var memberCount: Int { max(1, state.withLock { $0.members.count }) }
    var epoch: UInt64 { state.withLock { $0.map?.epoch.rawValue ?? 0 } }
    var ownedCount: Int {
        state.withLock { state in
            state.map?.shards.count { $0.placement.owner == me } ?? state.planned.count { $0.owner == me }
        }
    }

    func isMember(_ name: String) -> Bool { state.withLock { $0.members.contains { $0.name == name } } }
    func name(of node: NodeID) -> String? { state.withLock { $0.members.first { $0.id == node }?.name } }

    /// Who decides about the names of a shard.
    func coordinator(of shard: ShardID) -> NodeID? {
        state.withLock { state in
            if let map = state.map { return map[shard].coordinator }
            return state.planned.isEmpty ? me : state.planned[Int(shard.rawValue)].owner
        }
    }

    /// Who must hold new blobs of a shard.
    func writers(of shard: ShardID) -> [NodeID] {
        state.withLock { state in
            if let map = state.map { return map[shard].writers }
            return state.planned.isEmpty ? [me] : state.planned[Int(shard.rawValue)].members
        }
    }

    /// Whom to ask for blobs of a shard, this node left out.
    func readers(of shard: ShardID) -> [NodeID] {
        state.withLock { state in
            let readers =
                if let map = state.map { map[shard].readers } else if state.planned.isEmpty { [NodeID]() } else {
                    state.planned[Int(shard.rawValue)].members
                }
            return readers.filter { $0 != me }
        }
    }

    var others: [NodeID] { state.withLock { $0.members.map(\.id).filter { $0 != me } } }

    func holds(_ shard: ShardID) -> Bool { writers(of: shard).contains(me) }
}
