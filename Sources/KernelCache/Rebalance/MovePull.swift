package import CacheCore
package import EsperTypes
import Synchronization

/// One thing that a node does for a move.
package enum MoveWork: Hashable, Sendable {
    /// In COPY: bring everything that the old set has.
    case copy(MoveID, ShardID, ShardEpoch)
    /// In VERIFY: compare with the old set until nothing is missing.
    case verify(MoveID, ShardID, ShardEpoch)
    /// Bring what a former member has.
    case absorb(RebalanceDriver.Absorption)

    var shard: ShardID {
        switch self {
        case .copy(_, let shard, _), .verify(_, let shard, _): shard
        case .absorb(let absorption): absorption.shard
        }
    }

    var claim: ShardClaim {
        switch self {
        case .copy(_, _, let epoch), .verify(_, _, let epoch): ShardClaim(epoch: epoch)
        case .absorb(let absorption): ShardClaim(epoch: absorption.epoch, isStray: true)
        }
    }

    var move: MoveID? {
        switch self {
        case .copy(let move, _, _), .verify(let move, _, _): move
        case .absorb: nil
        }
    }
}

extension MoveWork {
    /// What a node says that it has done.
    package struct Done: Sendable {
        package var copied: Set<MoveID> = []
        package var verified: Set<MoveID> = []
        package var absorbed: Set<RebalanceDriver.Absorption> = []

        package init() {}
    }

    /// What the map asks of `node`, and what strays that are up have for it.
    package static func due(in map: ShardMap, for node: NodeID, but done: Done) -> Set<MoveWork> {
        var due: Set<MoveWork> = []
        for number in map.shards.indices {
            guard map.shards[number].step > .planned || !map.shards[number].strays.isEmpty,
                let id = ShardID(number)
            else { continue }
            let shard = map.shards[number]
            if let move = shard.move, move.isJoining(node) {
                if shard.step == .copy, !done.copied.contains(move.id) {
                    due.insert(.copy(move.id, id, shard.epoch))
                }
                if shard.step == .verify, !done.verified.contains(move.id) {
                    due.insert(.verify(move.id, id, shard.epoch))
                }
            }
            guard shard.step == .stable, shard.placement.contains(node) else { continue }
            for stray in shard.strays where stray != node && map.isUp(stray) {
                let absorption = RebalanceDriver.Absorption(shard: id, epoch: shard.epoch, stray: stray)
                if !done.absorbed.contains(absorption) { due.insert(.absorb(absorption)) }
            }
        }
        return due
    }

    /// Which of `due` begin beside what is under way: all of moves, which the driver bounds, and so many of strays, which may be any number
    /// after many deaths.
    package static func next(of due: Set<MoveWork>, beside running: Set<MoveWork>) -> Set<MoveWork> {
        let new = due.subtracting(running)
        let room = max(0, maximumAbsorptions - running.count { $0.move == nil })
        return new.filter { $0.move != nil }.union(new.filter { $0.move == nil }.prefix(room))
    }

    /// At once.
    package static let maximumAbsorptions = 64
}

/// How far a piece of work is; it ends when the map asks for it no more.
final class MovePull: Sendable {
    private let cancelled = Atomic<Bool>(false)
    private let copied = Atomic<UInt64>(0)
    private let left = Atomic<UInt64>(0)

    var isCancelled: Bool { cancelled.load(ordering: .relaxed) }
    func cancel() { cancelled.store(true, ordering: .relaxed) }

    var copiedBytes: UInt64 { copied.load(ordering: .relaxed) }
    var leftBytes: UInt64 { left.load(ordering: .relaxed) }

    func found(missing bytes: UInt64) { left.store(bytes, ordering: .relaxed) }

    func took(_ bytes: UInt64) {
        copied.add(bytes, ordering: .relaxed)
        left.store(leftBytes - min(bytes, leftBytes), ordering: .relaxed)
    }
}
