import CacheCore
import EsperTypes
import Logging
import RaftRuntime
import Synchronization

/// Throwing away what nobody wants.
extension CacheService {
    // MARK: On this node's disk

    /// Deletes blobs of this node's disk that no name refers to and no store has wanted for the whole time of grace.
    ///
    /// Names are read first: a binding that is made meanwhile is of a store that holds its blobs, here too, since the gate of
    /// its closure asked this node or wrote here.
    package func collectGarbage() async {
        guard let disk else { return }
        let old = disk.entries().filter { $0.idle >= options.garbageGrace }
        if old.isEmpty { return }
        let sizes = Dictionary(old.map { ($0.digest, $0.size) }) { $1 }
        let references = References(self, to: { sizes[$0] != nil })
        guard let referenced = await references.read(pause: options.listPause) else { return }
        // Looked at again: a store may have come while the names were read. What got old meanwhile was not asked for.
        let candidates = disk.entries().filter { sizes[$0.digest] != nil }.map { (digest: $0.digest, idle: $0.idle) }
        let garbage = state.withLock { state in
            state.holds.garbage(candidates, referenced: Set(referenced.keys), grace: options.garbageGrace)
        }
        // And once more by whoever deletes: what a store has been told of meanwhile stays.
        let deleted = await disk.delete(garbage, idleFor: options.garbageGrace)
        for digest in deleted { memory.drop(digest) }
        counters.garbageBlobs.add(UInt64(deleted.count))
        counters.garbageBytes.add(deleted.reduce(0) { $0 + UInt64(sizes[$1] ?? 0) })
        await forgetInRedis(deleted.filter { coordinates(ShardID(of: $0)) })
    }

    // MARK: In the tiers that all nodes share

    /// Deletes from the catalog and the archive what no name refers to: of the shards that this node coordinates, older than the time of
    /// grace, and wanted by no store of any node. Redis forgets by itself what nobody uses.
    ///
    /// A node that does not answer may have such a store, so nothing goes before it answers, or is no member any more (``GarbageRound``).
    package func collectOuterGarbage() async {
        for tier in outer where tier.tier != .redis {
            do throws(TierFailure) {
                try await collectGarbage(in: tier)
            } catch {
                logger.debug(
                    "garbage stays for now", metadata: ["cache.tier": "\(tier.tier.name)", "error": "\(error)"])
            }
        }
    }

    private func collectGarbage(in tier: any BlobTier) async throws(TierFailure) {
        let shards = Set((0..<ShardID.count).compactMap { ShardID($0) }.filter(coordinates))
        let references = References(self, to: { shards.contains(ShardID(of: $0)) })
        var referenced: [Digest: TierSet]?
        try await walk(tier, idleFor: options.garbageGrace, pause: options.listPause) { page in
            let own = page.map { ($0, ShardID(of: $0.digest)) }.filter { shards.contains($1) && coordinates($1) }.map(
                \.0)
            if own.isEmpty { return true }
            if referenced == nil { referenced = await references.read(pause: options.listPause) }
            guard let known = referenced else { return false }
            let garbage = own.filter { known[$0.digest] == nil }
            return await garbage.isEmpty ? true : collect(garbage, in: tier, references)
        }
    }

    /// - Returns: false when it makes no sense to go on.
    private func collect(_ blobs: [BlobReference], in tier: any BlobTier, _ references: References) async -> Bool {
        let id = CollectionID(collector: names.nodeID, number: .random(in: .min ... .max))
        var round = GarbageRound(
            blobs.map(\.digest), id: id, members: Set(placements.others + [names.nodeID]),
            deadline: NodeClock.now() + options.collectionTime)
        while true {
            switch round.step {
            case .ask(let node):
                do throws(PeerFailure) {
                    round.answered(wanted: try await condemn(for: options.condemnation, at: node, round))
                } catch {
                    round.silent()
                }
            case .readNames:
                let referenced = await references.read()
                await refreshMembers()
                round.namesRead(
                    referenced.map { Set($0.keys) }, members: Set(placements.others + [names.nodeID]),
                    now: NodeClock.now(), isOwn: { coordinates(ShardID(of: $0)) })
            case .delete(let doomed):
                let sizes = Dictionary(blobs.map { ($0.digest, $0.size) }) { $1 }
                round.deleted(isOver: await delete(doomed, sizes, in: tier, deadline: round.deadline))
            case .tell(let node):
                // Who is not told waits in vain, for as long as it was told before.
                _ = try? await condemn(for: .zero, at: node, round)
                round.told()
            case .done:
                if round.isDelayed { counters.garbageDelays.add() }
                return !round.isDelayed && !round.isUnanswered
            }
        }
    }

    private func condemn(
        for time: Duration, at node: NodeID, _ round: GarbageRound
    ) async throws(PeerFailure) -> Set<Digest> {
        if node == names.nodeID { return await condemn(round.digests, for: time, by: round.id) }
        return try await peers.condemn(
            round.digests, for: time, round: round.id.number, at: node,
            deadline: NodeClock.now() + options.copyLimit)
    }

    /// - Returns: whether nothing of it can happen later.
    private func delete(
        _ digests: [Digest], _ sizes: [Digest: UInt32], in tier: any BlobTier, deadline: Instant
    ) async -> Bool {
        do throws(TierFailure) {
            let deleted = try await tier.remove(
                digests, idleFor: options.garbageGrace, deadline: min(deadline, NodeClock.now() + .seconds(30)))
            counters.garbageBlobs.add(UInt64(deleted.count))
            counters.garbageBytes.add(deleted.reduce(0) { $0 + UInt64(sizes[$1] ?? 0) })
            await forgetInRedis(Array(deleted))
            return true
        } catch {
            logger.info(
                "garbage may be there still", metadata: ["cache.tier": "\(tier.tier.name)", "error": "\(error)"])
            // The tier was not asked; or it is the catalog, which leaves rows that a store has used since.
            return error.code == .suspended || error.code == .overloaded || tier.tier == .catalog
        }
    }

    private func forgetInRedis(_ digests: [Digest]) async {
        guard let redis = tier(.redis), !digests.isEmpty else { return }
        // What stays is given up by the server when it needs the room.
        try? await redis.delete(digests, deadline: NodeClock.now() + .seconds(2))
    }

    // MARK: Help

    /// Whether this node decides about the shard now.
    func coordinates(_ shard: ShardID) -> Bool {
        placements.coordinator(of: shard) == names.nodeID && placements.holdsLease(at: NodeClock.now())
    }

    /// Goes through what a tier has, page by page, with a pause after each; passes over what lies between shards of this node.
    ///
    /// - Parameters:
    ///   - first: the prefix to begin with.
    ///   - body: false: to stop.
    func walk(
        _ tier: any BlobTier, idleFor idle: Duration, pause: Duration, from first: UInt64 = 0,
        by limit: Instant = .distantFuture,
        _ body: ([BlobReference]) async -> Bool
    ) async throws(TierFailure) {
        var last = Self.floor(first)
        while !Task.isCancelled {
            guard let start = nextOwn(after: last) else { return }
            let page = try await tier.idle(
                for: idle, after: start, limit: options.listedBlobs,
                deadline: min(limit, NodeClock.now() + .seconds(30)))
            if !page.blobs.isEmpty {
                guard await body(page.blobs) else { return }
            }
            guard let next = page.next else { return }
            last = next
            // Cancelled: the loop ends.
            try? await Task.sleep(for: pause)
        }
    }

    /// Where to go on so that nothing of this node's shards above `last` is left out; nil when nothing is left.
    private func nextOwn(after last: Digest) -> Digest? {
        let first = Int(ShardID(of: last).rawValue)
        guard let own = (first..<ShardID.count).first(where: { ShardID($0).map(coordinates) ?? false }) else {
            return nil
        }
        return own == first ? last : Self.floor(UInt64(own) << 54)
    }

    /// Below all digests with this prefix.
    private static func floor(_ prefix: UInt64) -> Digest {
        prefix == 0 ? Digest(words: 0, 0, 0, 0) : Digest(words: prefix - 1, .max, .max, .max)
    }
}
