import CacheCore
import EsperTypes
import RaftRuntime
import Synchronization

// Reports to the leader, which are answered with the node's lease; and what this node answers about its shards.
extension Rebalancer {
    private static let loadsInterval = Duration.seconds(5)
    private static let heatInterval = Duration.seconds(5)
    private static let hotEntries = 16_384

    func tell() async {
        var (told, toldAt, loadsAt): (PeerReport?, Instant?, Instant?) = (nil, nil, nil)
        while !Task.isCancelled {
            let now = NodeClock.now()
            var isTaken = true
            var report = report()
            if told != report || toldAt.map({ now - $0 >= parts.options.nodeLease / 4 }) ?? true {
                let plain = report
                if loadsAt.map({ now - $0 >= Self.loadsInterval }) ?? true {
                    report.hasLoads = true
                    report.said.loads = loads()
                }
                let isLeased = await send(report)
                isTaken = isLeased == true
                if let isLeased {
                    // Without a lease it is told again at once.
                    (told, toldAt) = (plain, isLeased ? now : nil)
                    if report.hasLoads { loadsAt = now }
                } else {
                    // A new leader knows nothing yet.
                    loadsAt = nil
                }
            }
            // Shards that flip wait for it.
            if !isTaken, state.withLock({ $0.isMoving }) { await pause() } else { await pause(at: telling) }
        }
    }

    private func report() -> PeerReport {
        let map = parts.placements.map?.epoch ?? .zero
        return state.withLock { state in
            PeerReport(
                said: .init(
                    map: map, copied: state.done.copied, verified: state.done.verified,
                    absorbed: state.done.absorbed),
                weight: parts.options.weight, isDraining: state.isLeaving || state.isSetAside)
        }
    }

    /// - Returns: whether it was answered with a lease; nil: the leader has not taken it.
    private func send(_ report: PeerReport) async -> Bool? {
        let start = NodeClock.now()
        let deadline = start + parts.options.nodeLease / 2
        guard let leadership = await parts.names.leadership(deadline: deadline) else { return nil }
        let isNews = state.withLock { state in
            defer { state.isSetAside = leadership.isSetAside }
            return state.isSetAside != leadership.isSetAside
        }
        // What is told now does not say so yet.
        if isNews { telling.ring() }
        // Before the question leaves, on this clock: the leader counts from later on.
        let asked = NodeClock.now()
        let reply: PeerReportReply?
        if leadership.leader == me {
            reply = take(report, from: me)
        } else {
            // Also how long it took to fail.
            defer { reports.add(NodeClock.now() - start) }
            do throws(PeerFailure) {
                reply = try await parts.peers.report(report, to: leadership.leader, deadline: deadline)
            } catch { return nil }
        }
        guard let reply else { return nil }
        guard let lease = reply.lease else { return false }
        parts.placements.take(NodeLease(until: asked + lease, base: reply.base))
        return true
    }

    // MARK: What there is

    /// Bytes and recent uses of what this node has.
    func loads() -> [ShardID: RebalanceDriver.Load] {
        let heat = heat()
        return parts.disk?.shardBytes.reduce(into: [:]) { loads, item in
            loads[item.key] = .init(
                bytes: item.value, heat: heat[item.key]?.values.reduce(UInt64(0)) { $0 &+ $1 } ?? 0)
        } ?? [:]
    }

    /// What the memory's use tells, looked up anew every few seconds.
    private func heat() -> [ShardID: [Digest: UInt64]] {
        let now = NodeClock.now()
        if let known = state.withLock({ $0.heat }), now - known.at < Self.heatInterval { return known.weights }
        var weights: [ShardID: [Digest: UInt64]] = [:]
        for entry in parts.memory.hottest(Self.hotEntries).entries {
            weights[ShardID(of: entry.digest), default: [:]][entry.digest] = entry.weight
        }
        state.withLock { [weights] in $0.heat = (now, weights) }
        return weights
    }

    /// The most used first.
    func digests(of shard: ShardID, _ claim: ShardClaim?) -> ShardAnswer<[BlobReference]> {
        if let claim, !parts.placements.answers(for: shard, claim, now: NodeClock.now()) { return notOwner() }
        let weights = heat()[shard] ?? [:]
        let entries = parts.disk?.entries(of: shard) ?? []
        return .value(
            entries.map { ($0, weights[$0.digest] ?? 0) }
                .sorted { $0.1 == $1.1 ? $0.0.digest < $1.0.digest : $0.1 > $1.1 }
                .map { BlobReference(digest: $0.0.digest, size: $0.0.size) })
    }

    func compare(_ question: ShardQuestion) -> ShardAnswer<ShardParts> {
        let claim = ShardClaim(epoch: question.epoch)
        guard
            question.epoch == .zero
                || parts.placements.answers(for: question.shard, claim, now: NodeClock.now())
        else { return notOwner() }
        let tree = ShardTree(parts.disk?.entries(of: question.shard).map(\.merkleItem) ?? [])
        return .value(
            ShardParts(
                nodes: question.ranges.map(tree.node),
                blobs: question.listed.flatMap(tree.items).map {
                    BlobReference(digest: $0.key, size: UInt32(clamping: $0.version))
                }))
    }

    private func notOwner<Value>() -> ShardAnswer<Value> { .notOwner(map: MapEpoch(parts.placements.epoch)) }
}
