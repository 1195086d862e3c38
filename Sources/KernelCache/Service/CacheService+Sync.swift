import CacheCore
import EsperTypes
import Logging
import RaftRuntime

/// Comparing what should be the same: the holders of each shard with one another, the tiers with what names count on, and the catalog's
/// rows with the names.
///
/// Blobs are united: what one place lacks, another gives. Nothing is deleted, and nothing is made anew that no name refers to, so
/// that what one node has thrown away does not come back from the next. Places are asked one after the other while stores and
/// evictions go on, so a difference is only a suspicion: names are read once more, and both places asked again, before anything
/// is told or repaired.
extension CacheService {
    public func sync(_ request: SyncRequest) async throws(CacheFailure) -> SyncReply {
        try await sync(request, pause: .zero)
    }

    /// - Parameter pause: after each thousand names.
    private func sync(_ request: SyncRequest, pause: Duration) async throws(CacheFailure) -> SyncReply {
        try Self.checkTime(request.deadline)
        guard let disk else { throw CacheFailure(.disabled, "this node keeps no blobs on its disk") }
        let references = References(self)
        var reply = SyncReply()
        let wanted = try await read(references, request, pause)
        var suspects = await compareNodes(request, disk, wanted, &reply)
        for tier in outer where tier.tier != .redis { suspects += await compare(tier, request, wanted, &reply) }
        if !suspects.isEmpty {
            let wanted = try await read(references, request, pause)
            var shards: Set<ShardID> = []
            for suspect in suspects { await repair(suspect, disk, request, wanted, &reply, &shards) }
            reply.equal -= shards.count
        }
        if request.shard == nil, pause == .zero || ShardID(0).map(coordinates) ?? false {
            await compareRows(request, pause, &reply)
        }
        counters.syncs.add()
        counters.syncDifferences.add(UInt64(reply.differences))
        counters.syncedBlobs.add(UInt64(reply.repairedBlobs))
        counters.syncedBytes.add(reply.repairedBytes)
        return reply
    }

    /// Now and then until the task is cancelled; nodes that started together drift apart.
    func keepSyncing() async {
        guard options.syncInterval > .zero else { return }
        var random = SplitMix64(seed: options.seed)
        while true {
            let spread = 0.75 + 0.5 * Double(random.next() >> 11) * 0x1p-53
            // Cancelled: the loop ends.
            try? await Task.sleep(for: options.syncInterval * spread)
            if Task.isCancelled { return }
            do throws(CacheFailure) {
                let limit = NodeClock.now() + max(options.syncInterval, .seconds(60))
                let reply = try await sync(
                    SyncRequest(principal: "node/" + options.node, deadline: limit), pause: options.listPause)
                if reply.differences + reply.wrongRows == 0 { continue }
                logger.info(
                    "copies were missing and are brought back",
                    metadata: [
                        "count": "\(reply.differences)", "repaired": "\(reply.repairedBlobs)", "lost": "\(reply.lost)",
                        "rows": "\(reply.wrongRows)",
                    ])
            } catch {
                logger.debug("nothing is compared now", metadata: ["error": "\(error.message)"])
            }
        }
    }

    private func read(
        _ references: References, _ request: SyncRequest, _ pause: Duration
    ) async throws(CacheFailure) -> [Digest: TierSet] {
        if let wanted = await references.read(by: request.deadline, pause: pause) { return wanted }
        try Self.checkTime(request.deadline)
        throw CacheFailure(.tierUnavailable, "not every manifest can be read now; ask again when all tiers serve")
    }

    /// Blobs that seem to be missing somewhere.
    private enum Suspect {
        /// On this node; the other has them.
        case here(ShardID, [Digest], from: NodeID)
        /// On the other; this node has them.
        case there(ShardID, [Digest], to: NodeID)
        case tier(any BlobTier, [Digest])
    }

    // MARK: Nodes

    private func compareNodes(
        _ request: SyncRequest, _ disk: BlobDirectory, _ wanted: [Digest: TierSet], _ reply: inout SyncReply
    ) async -> [Suspect] {
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
        var suspects: [Suspect] = []
        for shard in request.shard.map({ [$0] }) ?? all where placements.holds(shard) {
            reply.shards += 1
            reply.equal += 1
            let empty = ShardSummary(shard: shard)
            for node in placements.writers(of: shard) {
                guard let sums = theirs[node], (sums[shard] ?? empty) != (mine[shard] ?? empty) else { continue }
                do throws(PeerFailure) {
                    suspects += try await differences(of: shard, with: node, disk, request, wanted)
                } catch { reply.noteUnreachable(placements.name(of: node) ?? "\(node)") }
            }
        }
        return suspects
    }

    /// Goes down the two trees where they differ.
    private func differences(
        of shard: ShardID, with node: NodeID, _ disk: BlobDirectory, _ request: SyncRequest,
        _ wanted: [Digest: TierSet]
    ) async throws(PeerFailure) -> [Suspect] {
        let own = ShardTree(disk.entries(of: shard).map(\.merkleItem))
        guard
            let difference = try await peers.difference(
                from: own, shard, .zero, at: node, deadline: { request.deadline })
        else { return [] }
        let theirs = Set(difference.blobs.map(\.digest))
        let mine = Set(difference.ranges.flatMap { own.items(in: $0) }.map(\.key))
        let owed = ShardRepair(mine: mine, theirs: theirs) { wanted[$0] != nil }
        return [.here(shard, owed.missing, from: node), .there(shard, owed.given, to: node)]
            .filter { suspect in
                switch suspect {
                case .here(_, let digests, _), .there(_, let digests, _), .tier(_, let digests): !digests.isEmpty
                }
            }
    }

    // MARK: Tiers

    /// What a name was acknowledged for is to be there: in the archive; or in the catalog, from which it may have gone to the archive.
    /// Each node looks after the shards that it coordinates.
    private func compare(
        _ tier: any BlobTier, _ request: SyncRequest, _ wanted: [Digest: TierSet], _ reply: inout SyncReply
    ) async -> [Suspect] {
        let expected = wanted.filter { digest, tiers in
            let shard = ShardID(of: digest)
            return tiers.contains(TierSet(tier.tier)) && request.shard ?? shard == shard && coordinates(shard)
        }.keys.sorted()
        if expected.isEmpty { return [] }
        var suspects: [Suspect] = []
        do throws(TierFailure) {
            var listed: Set<Digest> = []
            if tier.tier == .archive, request.shard == nil {
                // A page tells of a thousand at once.
                try await walk(tier, idleFor: .zero, pause: .zero, by: request.deadline) { page in
                    listed.formUnion(page.map(\.digest))
                    return NodeClock.now() < request.deadline
                }
            }
            for part in expected.filter({ !listed.contains($0) }).parts(of: 256) {
                let missing = try await missing(part, in: tier, request.deadline)
                if !missing.isEmpty { suspects.append(.tier(tier, missing.sorted())) }
            }
        } catch { reply.noteUnreachable(error.tier.name) }
        return suspects
    }

    private func missing(
        _ digests: [Digest], in tier: any BlobTier, _ deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        var missing = Set(digests).subtracting(try await tier.has(digests, deadline: deadline))
        if tier.tier == .catalog, let archive = self.tier(.archive), !missing.isEmpty {
            missing.subtract(try await archive.has(missing.sorted(), deadline: deadline))
        }
        return missing
    }

    // MARK: Repair

    /// Of up to a MiB each: moves wait for their turn as long as these take.
    private static let repairedAtOnce = 4

    /// What is still missing, and what names still want, as of now.
    private func repair(
        _ suspect: Suspect, _ disk: BlobDirectory, _ request: SyncRequest, _ wanted: [Digest: TierSet],
        _ reply: inout SyncReply, _ shards: inout Set<ShardID>
    ) async {
        switch suspect {
        case .here(let shard, let digests, let node):
            let missing = digests.filter { wanted[$0] != nil && !disk.has($0) }
            guard reply.note(missing, shard, &shards), !request.isDryRun else { return }
            do throws(PeerFailure) {
                for part in missing.parts(of: Self.repairedAtOnce) {
                    let fetched = try await peers.fetch(part, from: node, isUse: false, deadline: request.deadline)
                    rebalancer.heard(fetched)
                    let blobs = fetched.blobs.map { Blob(digest: $0.key, bytes: $0.value) }
                    await rebalancer.pace(blobs: blobs.count, bytes: blobs.bytes, deadline: request.deadline)
                    try await disk.put(blobs, isSynced: true, deadline: request.deadline)
                    reply.note(blobs)
                }
            } catch { reply.noteUnreachable(placements.name(of: node) ?? "\(node)") }
        case .there(let shard, let digests, let node):
            do throws(PeerFailure) {
                let there = try await peers.look(for: digests, at: node, deadline: request.deadline).disk
                let missing = digests.filter { wanted[$0] != nil && disk.has($0) && !there.contains($0) }
                guard reply.note(missing, shard, &shards), !request.isDryRun else { return }
                for part in missing.parts(of: Self.repairedAtOnce) {
                    let blobs = try await disk.get(part, deadline: request.deadline)
                        .map { Blob(digest: $0.key, bytes: $0.value) }
                    await rebalancer.pace(blobs: blobs.count, bytes: blobs.bytes, deadline: request.deadline)
                    try await peers.push(blobs, at: [:], to: node, keeping: .synced, deadline: request.deadline)
                    reply.note(blobs)
                }
            } catch { reply.noteUnreachable(placements.name(of: node) ?? "\(node)") }
        case .tier(let tier, let digests):
            do throws(TierFailure) {
                let still = digests.filter { wanted[$0]?.contains(TierSet(tier.tier)) ?? false }
                if still.isEmpty { return }
                let missing = try await missing(still, in: tier, request.deadline).sorted()
                reply.differences += missing.count
                if request.isDryRun { return }
                for part in missing.parts(of: Self.repairedAtOnce) {
                    let loaded = await loader.peek(part, deadline: request.deadline)
                    let blobs = loaded.found.map { Blob(digest: $0.key, bytes: $0.value.bytes) }
                    await rebalancer.pace(blobs: blobs.count, bytes: blobs.bytes, deadline: request.deadline)
                    try await tier.put(blobs, deadline: request.deadline)
                    reply.note(blobs)
                    reply.lost += loaded.lost.count
                }
            } catch { reply.noteUnreachable(error.tier.name) }
        }
    }

    // MARK: Rows

    private func compareRows(_ request: SyncRequest, _ pause: Duration, _ reply: inout SyncReply) async {
        var last: [UInt8]?
        do throws(CacheFailure) {
            repeat {
                let page = try await compareRows(
                    after: last, limit: 1000, repairs: !request.isDryRun, deadline: request.deadline)
                reply.wrongRows += page.wrong.count
                reply.repairedRows += page.repaired
                last = page.next
                // Cancelled: the next page is not read.
                if last != nil, pause > .zero, (try? await Task.sleep(for: pause)) == nil { return }
            } while last != nil
        } catch { reply.noteUnreachable(CacheTier.catalog.name) }
    }
}

extension [Blob] {
    fileprivate var bytes: Int { reduce(0) { $0 + $1.bytes.count } }
}

extension SyncReply {
    fileprivate mutating func noteUnreachable(_ name: String) {
        if !unreachable.contains(name) { unreachable.append(name) }
    }

    /// - Returns: whether there are any.
    fileprivate mutating func note(_ missing: [Digest], _ shard: ShardID, _ shards: inout Set<ShardID>) -> Bool {
        if missing.isEmpty { return false }
        differences += missing.count
        shards.insert(shard)
        return true
    }

    fileprivate mutating func note(_ blobs: [Blob]) {
        repairedBlobs += blobs.count
        repairedBytes += UInt64(blobs.bytes)
    }
}
