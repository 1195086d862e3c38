import CacheCore
import EsperTypes
import Synchronization

/// Who holds what, as this node sees it: by the map of shards, or, before there is one, by the planner over the members.
///
/// The one place where "the map that this node has applied" is kept: whatever is checked against it and noted before it changes
/// was so at the map's epoch.
final class Placements: Sendable {
    private struct State {
        var members: [CacheMember] = []
        var planned: [Placement] = []
        var map: ShardMap?
        var lease: NodeLease?

        func holdsLease(at now: Instant) -> Bool {
            guard let map, let lease else { return map == nil }
            return lease.holds(at: now, map: map.epoch)
        }
    }

    private let state = Mutex(State())
    let me: NodeID
    let copies: Int

    init(me: NodeID, copies: Int) {
        self.me = me
        self.copies = copies
    }

    /// - Returns: whether anything changed.
    func update(_ members: [CacheMember]) -> Bool {
        state.withLock { state in
            guard state.members != members else { return false }
            state.members = members
            if state.map == nil {
                let hosts = members.map { ShardMap.Host(id: $0.id, zone: $0.zone) }
                state.planned = PlacementPlanner(copies: copies).placements(hosts: hosts) ?? []
            }
            return true
        }
    }

    /// This node has applied the map. - Returns: whether it is another than before.
    func apply(_ map: ShardMap?) -> Bool {
        state.withLock { state in
            guard state.map?.epoch != map?.epoch else { return false }
            state.map = map
            return true
        }
    }

    func take(_ lease: NodeLease) {
        state.withLock { state in
            // An answer that came late does not shorten what is held.
            if lease.until > state.lease?.until ?? .zero { state.lease = lease }
        }
    }

    var map: ShardMap? { state.withLock { $0.map } }
    var members: [CacheMember] { state.withLock { $0.members } }
    var memberCount: Int { max(1, state.withLock { $0.members.count }) }
    var epoch: UInt64 { state.withLock { $0.map?.epoch.rawValue ?? 0 } }
    var ownedCount: Int {
        state.withLock { state in
            state.map?.shards.count { $0.placement.owner == me } ?? state.planned.count { $0.owner == me }
        }
    }

    /// Of the members that are not known to be down.
    var activeNames: Set<String> {
        state.withLock { state in
            Set(state.members.filter { state.map?.host($0.id)?.isDown != true }.map(\.name))
        }
    }

    func isMember(_ name: String) -> Bool { state.withLock { $0.members.contains { $0.name == name } } }
    func id(of name: String) -> NodeID? { state.withLock { $0.members.first { $0.name == name }?.id } }
    func name(of node: NodeID) -> String? { state.withLock { $0.members.first { $0.id == node }?.name } }

    /// Who decides about the names of a shard.
    func coordinator(of shard: ShardID) -> NodeID? {
        state.withLock { state in
            if let map = state.map { return map[shard].coordinator }
            return state.planned.isEmpty ? me : state.planned[Int(shard.rawValue)].owner
        }
    }

    /// Who holds new blobs of a shard.
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

    // MARK: What this node may do

    /// Whether it acts by the map: always, before there is one.
    func holdsLease(at now: Instant) -> Bool { state.withLock { $0.holdsLease(at: now) } }

    /// Whether this node holds new blobs of all the shards, each at its epoch. Neither behind nor ahead: who is behind might delete
    /// them with what it was about to delete.
    func isWriter(at epochs: [ShardID: ShardEpoch], now: Instant) -> Bool {
        state.withLock { state in
            guard !epochs.isEmpty else { return true }
            guard let map = state.map, state.holdsLease(at: now) else { return false }
            return epochs.allSatisfy { shard, epoch in
                map[shard].epoch == epoch && map[shard].writers.contains(me)
            }
        }
    }

    /// Whether this node may say what the shard holds, to whoever takes it over.
    func answers(for shard: ShardID, _ claim: ShardClaim, now: Instant) -> Bool {
        state.withLock { state in
            guard let map = state.map, map[shard].epoch == claim.epoch else { return false }
            if claim.isStray { return map[shard].strays.contains(me) }
            return map[shard].step >= .copy && map[shard].placement.contains(me) && state.holdsLease(at: now)
        }
    }
}
