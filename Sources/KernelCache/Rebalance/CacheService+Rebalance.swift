import CacheCore
import EsperTypes
import RaftRuntime

// What operators ask of the map of shards. Any node answers; what changes the map is proposed in the operator's name.
extension CacheService {
    private static let askLimit = Duration.seconds(2)

    public func shardMap() -> ShardMapReply {
        let names = Dictionary(placements.members.map { ($0.id, $0.name) }) { $1 }
        return ShardMapReply(map: self.names.appliedMap, names: names)
    }

    public func rebalance(_ request: RebalanceRequest) async throws(CacheFailure) -> RebalanceReply {
        try Self.checkTime(request.deadline)
        switch request.action {
        case .status: return await status(request.deadline)
        case .plan: return await status(request.deadline, proposing: true)
        case .start:
            let map = try knownMap()
            let moves = await plannedMoves(map, request.deadline)
            var changed: UInt32 = 0
            if !moves.isEmpty { changed = try await propose(.plan(moves), request) }
            // Afterwards, so that it is this request that plans them.
            if map.isManual { _ = try await propose(.setManual(false), request) }
            return await status(request.deadline, changed: changed)
        case .cancel:
            let map = try knownMap()
            // First, so that what is cancelled is not planned anew.
            if !map.isManual { _ = try await propose(.setManual(true), request) }
            let changes = (names.appliedMap ?? map).shards.enumerated().compactMap { number, shard -> StepChange? in
                guard let move = shard.move, shard.step < .flip, move.reason == .balance, let id = ShardID(number)
                else { return nil }
                return StepChange(shard: id, move: move.id, step: shard.step, epoch: shard.epoch)
            }
            var changed: UInt32 = 0
            if !changes.isEmpty { changed = try await propose(.cancel(changes), request) }
            return await status(request.deadline, changed: changed)
        case .throttle(let change):
            guard change.isPossible else {
                throw CacheFailure(
                    .invalid,
                    "a rate is at least \(ThrottleChange.leastBytesPerSecond) bytes a second, and a count at least 1")
            }
            var throttle = try knownMap().throttle
            throttle.bytesPerSecond = change.bytesPerSecond ?? throttle.bytesPerSecond
            throttle.maximumIncoming = change.maximumIncoming ?? throttle.maximumIncoming
            throttle.maximumOutgoing = change.maximumOutgoing ?? throttle.maximumOutgoing
            _ = try await propose(.setThrottle(throttle), request)
            return await status(request.deadline)
        }
    }

    private func knownMap() throws(CacheFailure) -> ShardMap {
        guard let map = names.appliedMap else {
            throw CacheFailure(.unconfirmed, "the cluster has no map of shards yet; ask again in a few seconds")
        }
        return map
    }

    private func propose(_ command: MapCommand, _ request: RebalanceRequest) async throws(CacheFailure) -> UInt32 {
        try await names.propose(command, principal: request.principal, deadline: request.deadline).applied
    }

    private func plannedMoves(_ map: ShardMap, _ deadline: Instant) async -> [PlannedMove] {
        var moves = PlacementPlanner(copies: map.copies).moves(for: map)
        if moves.isEmpty { return [] }
        let limit = min(deadline, NodeClock.now() + Self.askLimit)
        var bytes = rebalancer.loads().mapValues(\.bytes)
        // A node that does not answer makes the estimate smaller, and nothing else.
        for node in placements.others {
            for sum in (try? await peers.summaries(at: node, deadline: limit)) ?? [] {
                bytes[sum.shard] = max(bytes[sum.shard] ?? 0, sum.bytes)
            }
        }
        for position in moves.indices { moves[position].estimatedBytes = bytes[moves[position].shard] ?? 0 }
        return moves
    }

    private func status(
        _ deadline: Instant, proposing: Bool = false, changed: UInt32 = 0
    ) async -> RebalanceReply {
        var reply = RebalanceReply()
        reply.changed = changed
        guard let map = names.appliedMap else { return reply }
        reply.epoch = map.epoch
        reply.isManual = map.isManual
        reply.throttle = map.throttle
        if proposing {
            for planned in await plannedMoves(map, deadline) {
                let from = map[planned.shard].placement
                reply.moves.append(
                    .init(
                        shard: planned.shard, id: nil, step: .stable, reason: planned.reason, from: named(from),
                        to: named(planned.to), estimatedBytes: planned.estimatedBytes))
                let copies = UInt64(planned.to.members.count { !from.contains($0) })
                reply.leftBytes.add(planned.estimatedBytes, times: copies)
            }
            return reply
        }
        let progress = await progressOfAll(deadline, &reply)
        for (number, shard) in map.shards.enumerated() {
            guard let move = shard.move, let id = ShardID(number) else { continue }
            reply.moves.append(
                .init(
                    shard: id, id: move.id, step: shard.step, reason: move.reason,
                    from: move.from.map(named) ?? [], to: named(move.to), estimatedBytes: move.estimatedBytes))
            switch shard.step {
            case .planned: reply.leftBytes.add(move.estimatedBytes, times: UInt64(move.joining.count))
            case .copy, .verify:
                reply.leftBytes.add(progress[move.id]?.left ?? 0)
                reply.copiedBytes.add(progress[move.id]?.copied ?? 0)
            case .stable, .flip, .drain: break
            }
        }
        return reply
    }

    private func progressOfAll(
        _ deadline: Instant, _ reply: inout RebalanceReply
    ) async -> [MoveID: (left: UInt64, copied: UInt64)] {
        let limit = min(deadline, NodeClock.now() + Self.askLimit)
        var answers: [(NodeID, MoveProgress?)] = [(names.nodeID, rebalancer.progress())]
        await withTaskGroup(of: (NodeID, MoveProgress?).self) { group in
            for node in placements.others {
                group.addTask { (node, try? await self.peers.progress(at: node, deadline: limit)) }
            }
            for await answer in group { answers.append(answer) }
        }
        var moves: [MoveID: (left: UInt64, copied: UInt64)] = [:]
        for (node, answer) in answers {
            guard let answer else {
                reply.unreachable.append(placements.name(of: node) ?? "\(node)")
                continue
            }
            reply.bytesPerSecond.add(answer.bytesPerSecond)
            for move in answer.moves {
                moves[move.id, default: (0, 0)].left.add(move.leftBytes)
                moves[move.id, default: (0, 0)].copied.add(move.copiedBytes)
            }
        }
        reply.unreachable.sort()
        return moves
    }

    private func named(_ placement: Placement) -> [String] {
        placement.members.map { placements.name(of: $0) ?? "\($0)" }
    }
}

extension UInt64 {
    /// As far as it goes: what others report is anything.
    fileprivate mutating func add(_ other: UInt64, times count: UInt64 = 1) {
        let (product, isTooMuch) = other.multipliedReportingOverflow(by: count)
        let (sum, isTooLarge) = addingReportingOverflow(product)
        self = isTooMuch || isTooLarge ? .max : sum
    }
}
