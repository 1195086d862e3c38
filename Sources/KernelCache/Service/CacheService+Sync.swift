import CacheCore
import EsperTypes
import RaftRuntime

/// Comparing what should be the same: the holders of each shard with one another, and the tiers with what names count on.
///
/// Blobs are united: what one place lacks, another gives. Nothing is deleted, and nothing is made anew that no name refers to, so
/// that what one node has thrown away does not come back from the next.
extension CacheService {
    public func sync(_ request: SyncRequest) async throws(CacheFailure) -> SyncReply {
        try Self.checkTime(request.deadline)
        guard let disk else { throw CacheFailure(.disabled, "this node keeps no blobs on its disk") }
        guard let wanted = await References(self).read(by: request.deadline) else {
            throw CacheFailure(.tierUnavailable, "not every manifest can be read now; ask again when all tiers serve")
        }
        var reply = SyncReply()
        await compareNodes(request, disk, wanted, &reply)
        for tier in outer where tier.tier != .redis { await compare(tier, request, wanted, &reply) }
        counters.syncDifferences.add(UInt64(reply.differences))
        return reply
    }

    // MARK: Nodes

    private func compareNodes(
        _ request: SyncRequest, _ disk: BlobDirectory, _ wanted: [Digest: TierSet], _ reply: inout SyncReply
    ) async {
        var theirs: [NodeID: [ShardID: ShardSummary]] = [:]
        for node in placements.others {
            do throws(PeerFailure) {
                let sums = try await peers.summaries(
                    at: node, deadline: min(request.deadline, NodeClock.now() + .seconds(10)))
                theirs[node] = Dictionary(sums.map { ($0.shard, $0) }) { $1 }
            } catch { reply.noteUnreachable(placements.name(of: node) ?? "\(node)") }
        }
        let mine = Dictionary(await summaries().map { ($0.shard, $0) }) { $1 }
        let all = (0..<ShardID.count).compactMap { ShardID($0) }
        for shard in request.shard.map({ [$0] }) ?? all where placements.holds(shard) {
            reply.shards += 1
            let before = reply.differences
            let empty = ShardSummary(shard: shard)
            for node in placements.writers(of: shard) {
                guard let sums = theirs[node], (sums[shard] ?? empty) != (mine[shard] ?? empty) else { continue }
                await repair(shard, with: node, disk, request, wanted, &reply)
            }
            if reply.differences == before { reply.equal += 1 }
        }
    }

    /// Goes down the two trees where they differ.
    private func repair(
        _ shard: ShardID, with node: NodeID, _ disk: BlobDirectory, _ request: SyncRequest,
        _ wanted: [Digest: TierSet], _ reply: inout SyncReply
    ) async {
        do throws(PeerFailure) {
            let own = ShardTree(disk.entries(of: shard).map(\.merkleItem))
            guard
                let difference = try await peers.difference(
                    from: own, shard, .zero, at: node, deadline: { request.deadline })
            else { return }
            let theirs = Set(difference.blobs.map(\.digest))
            let mine = Set(difference.ranges.flatMap { own.items(in: $0) }.map(\.key))
            let missing = theirs.subtracting(mine).filter { wanted[$0] != nil && !disk.has($0) }.sorted()
            let given = mine.subtracting(theirs).filter { wanted[$0] != nil && disk.has($0) }.sorted()
            reply.differences += missing.count + given.count
            if request.isDryRun { return }
            for part in missing.parts(of: 16) {
                let bytes = try await peers.fetch(part, from: node, isUse: false, deadline: request.deadline)
                let blobs = bytes.map { Blob(digest: $0.key, bytes: $0.value) }
                try await disk.put(blobs, isSynced: true, deadline: request.deadline)
                reply.note(blobs)
            }
            for part in given.parts(of: 16) {
                let blobs = try await disk.get(part, deadline: request.deadline).map {
                    Blob(digest: $0.key, bytes: $0.value)
                }
                try await peers.push(blobs, at: [:], to: node, keeping: .synced, deadline: request.deadline)
                reply.note(blobs)
            }
        } catch { reply.noteUnreachable(placements.name(of: node) ?? "\(node)") }
    }

    // MARK: Tiers

    /// What a name was acknowledged for is to be there: in the archive; or in the catalog, from which it may have gone to the archive.
    /// Each node looks after the shards that it coordinates.
    private func compare(
        _ tier: any BlobTier, _ request: SyncRequest, _ wanted: [Digest: TierSet], _ reply: inout SyncReply
    ) async {
        let expected = wanted.filter { digest, tiers in
            let shard = ShardID(of: digest)
            return tiers.contains(TierSet(tier.tier)) && request.shard ?? shard == shard && coordinates(shard)
        }.keys.sorted()
        if expected.isEmpty { return }
        do throws(TierFailure) {
            var listed: Set<Digest> = []
            if tier.tier == .archive, request.shard == nil {
                // A page tells of a thousand at once.
                try await walk(tier, idleFor: .zero, pause: .zero) { page in
                    listed.formUnion(page.map(\.digest))
                    return NodeClock.now() < request.deadline
                }
            }
            for part in expected.filter({ !listed.contains($0) }).parts(of: 256) {
                var missing = Set(part).subtracting(try await tier.has(part, deadline: request.deadline))
                if tier.tier == .catalog, let archive = self.tier(.archive), !missing.isEmpty {
                    missing.subtract(try await archive.has(missing.sorted(), deadline: request.deadline))
                }
                reply.differences += missing.count
                if request.isDryRun { continue }
                for some in missing.sorted().parts(of: 16) {
                    let loaded = await loader.peek(some, deadline: request.deadline)
                    let blobs = loaded.found.map { Blob(digest: $0.key, bytes: $0.value.bytes) }
                    try await tier.put(blobs, deadline: request.deadline)
                    reply.note(blobs)
                    reply.lost += loaded.lost.count
                }
            }
        } catch { reply.noteUnreachable(error.tier.name) }
    }
}

extension SyncReply {
    fileprivate mutating func noteUnreachable(_ name: String) {
        if !unreachable.contains(name) { unreachable.append(name) }
    }

    fileprivate mutating func note(_ blobs: [Blob]) {
        repairedBlobs += blobs.count
        repairedBytes += blobs.reduce(0) { $0 + UInt64($1.bytes.count) }
    }
}
