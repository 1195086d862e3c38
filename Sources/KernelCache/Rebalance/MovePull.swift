import CacheCore
import EsperTypes
import Synchronization

/// One thing that a node does for a move.
enum MoveWork: Hashable, Sendable {
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
