import CacheCore
import EsperTypes
import Metrics
import RaftRuntime
import Synchronization

// What this node does as the map that it has applied says.
extension Rebalancer {
    private static let freeInterval = Duration.seconds(1)
    private static let observationInterval = Duration.seconds(1)
    /// Deleted between two looks at the lease.
    private static let freedAtOnce = 256

    func follow() async {
        await withDiscardingTaskGroup { group in
            var (nextFree, nextObservation) = (Instant.zero, Instant.zero)
            while !Task.isCancelled {
                let map = parts.names.appliedMap
                let isNew = parts.placements.apply(map)
                if let map {
                    if isNew {
                        adjust(to: map)
                        telling.ring()
                        leading.ring()
                    }
                    if isNew || state.withLock({ $0.hasRoom }) {
                        for (work, pull) in begin(map) {
                            group.addTask { await self.perform(work, pull) }
                        }
                    }
                    let now = NodeClock.now()
                    if now >= nextFree, await free(map) { nextFree = now + Self.freeInterval }
                    if now >= nextObservation {
                        nextObservation = now + Self.observationInterval
                        observe(map)
                    }
                }
                await pause(at: following)
            }
            group.cancelAll()
        }
    }

    /// The map is another than before.
    private func adjust(to map: ShardMap) {
        let limit = min(map.throttle.bytesPerSecond, parts.options.moveRate ?? .max)
        let now = NodeClock.now()
        state.withLock { state in
            var moves: Set<MoveID> = []
            var flipping: Set<MoveID> = []
            var isMoving = false
            for number in map.shards.indices {
                guard map.shards[number].step != .stable || map.shards[number].strays.contains(where: map.isUp)
                else { continue }
                isMoving = true
                let shard = map.shards[number]
                guard let move = shard.move else { continue }
                moves.insert(move.id)
                if shard.coordinator == nil { flipping.insert(move.id) }
            }
            for (move, start) in state.flipping where !flipping.contains(move) {
                metrics.flips.recordNanoseconds((now - start).nanoseconds)
            }
            state.flipping = state.flipping.filter { flipping.contains($0.key) }
            for move in flipping where state.flipping[move] == nil { state.flipping[move] = now }
            state.isMoving = isMoving
            state.done.copied.formIntersection(moves)
            state.done.verified.formIntersection(moves)
            state.done.absorbed = state.done.absorbed.filter { map[$0.shard].epoch == $0.epoch }
            state.since = state.since.filter { moves.contains($0.key) }
            for move in moves where state.since[move] == nil { state.since[move] = now }
            state.rate.setLimit(limit, at: now)
        }
    }

    /// What has to be begun; what the map asks for no more is cancelled.
    private func begin(_ map: ShardMap) -> [(MoveWork, MovePull)] {
        guard parts.disk != nil else { return [] }
        return state.withLock { state in
            state.hasRoom = false
            guard state.isMoving || !state.work.isEmpty else { return [] }
            let due = MoveWork.due(in: map, for: me, but: state.done)
            for (work, pull) in state.work where !due.contains(work) { pull.cancel() }
            return MoveWork.next(of: due, beside: Set(state.work.keys)).map { work in
                let pull = MovePull()
                state.work[work] = pull
                return (work, pull)
            }
        }
    }

    // MARK: Freeing

    /// Deletes blobs of shards that others hold completely.
    ///
    /// - Returns: false: there is more to delete, and a newer map, which comes first: moves wait for it.
    private func free(_ map: ShardMap) async -> Bool {
        guard let disk = parts.disk else { return true }
        for shard in disk.shardBytes.keys.sorted() {
            guard map.isFree(shard, of: me) else { continue }
            let digests = disk.entries(of: shard).map(\.digest)
            for start in stride(from: 0, to: digests.count, by: Self.freedAtOnce) {
                // Without a lease the map may be an old one, and what it says is free have come back.
                guard parts.placements.holdsLease(at: NodeClock.now()) else { return true }
                let part = Array(digests[start..<min(start + Self.freedAtOnce, digests.count)])
                // What a slow disk does not delete in time it deletes later; the map is not to wait for it.
                let gone = await disk.delete(part, deadline: NodeClock.now() + .seconds(1))
                metrics.freedBlobs.increment(by: gone.count)
                if gone.count < part.count { return true }
                if parts.names.appliedMap?.epoch != map.epoch { return false }
            }
        }
        return true
    }

    // MARK: Metrics

    private func observe(_ map: ShardMap) {
        let now = NodeClock.now()
        let (rate, left, oldest) = state.withLock { state in
            (
                state.rate.current, state.work.values.reduce(UInt64(0)) { $0 + $1.leftBytes },
                state.since.values.min().map { now - $0 } ?? .zero
            )
        }
        metrics.observe(map, rate: rate, left: left, oldest: oldest)
    }
}
