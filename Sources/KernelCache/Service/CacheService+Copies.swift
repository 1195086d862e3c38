import CacheCore
import EsperTypes
import RaftRuntime

/// Putting copies where they belong, and finding out where they are.
extension CacheService {
    /// Gives blobs to their holders and tiers, and waits for those that the mode needs; the rest goes on in the background.
    ///
    /// - Returns: who has acknowledged what.
    func distribute(_ blobs: [Blob], mode: StoreMode, deadline: Instant) async -> [Digest: BlobHolding] {
        if blobs.isEmpty { return [:] }
        for blob in blobs {
            loader.overtake(blob.digest)
            memory.put(blob.bytes, under: blob.digest)
        }
        let catalog = tier(.catalog)
        let archive = tier(.archive)
        let needsDisks = mode == .archived ? archive == nil : catalog == nil && archive == nil
        let keeping: BlobKeeping = mode == .memory ? .written : needsDisks ? .synced : .inMemory
        // Where nothing else can take them, the disks have all the time.
        let limit = needsDisks ? min(deadline, NodeClock.now() + options.copyLimit) : share(of: deadline)
        var holdings = await copyToNodes(blobs, keeping: keeping, until: limit)
        fill(.redis, blobs)
        switch mode {
        case .memory:
            let gate = makeGate([], mode: .memory)
            let (kept, short) = blobs.split { gate.isSatisfied(by: holdings[$0.digest] ?? BlobHolding()) }
            // Too few nodes take it, as when their disks are full.
            if !short.isEmpty, let tier = catalog ?? archive { _ = await put(short, in: tier, deadline, &holdings) }
            fill(catalog == nil ? .archive : .catalog, kept)
        case .durable:
            var isPut = false
            if let catalog { isPut = await put(blobs, in: catalog, Self.half(until: deadline), &holdings) }
            if !isPut, let archive {
                isPut = await put(blobs, in: archive, Self.half(until: deadline), &holdings)
            }
            if !isPut, !needsDisks {
                let limit = min(deadline, NodeClock.now() + options.copyLimit)
                merge(await copyToNodes(blobs, keeping: .synced, until: limit), into: &holdings)
            }
        case .archived:
            if let archive { _ = await put(blobs, in: archive, deadline, &holdings) }
            fill(.catalog, blobs)
        }
        return holdings
    }

    /// A tier that hangs leaves as much time to the next one, and to the disks.
    static func half(until deadline: Instant) -> Instant {
        let now = NodeClock.now()
        return now + max(.zero, deadline - now) / 2
    }

    private func put(
        _ blobs: [Blob], in tier: any BlobTier, _ deadline: Instant, _ holdings: inout [Digest: BlobHolding]
    ) async -> Bool {
        do throws(TierFailure) {
            try await tier.put(blobs, deadline: deadline)
        } catch { return false }
        for blob in blobs { holdings[blob.digest, default: BlobHolding()].tiers.insert(TierSet(tier.tier)) }
        return true
    }

    private func fill(_ kind: CacheTier, _ blobs: [Blob]) {
        guard let tier = tier(kind) else { return }
        background.start {
            // What is not there now is put there by use.
            try? await tier.put(blobs, deadline: NodeClock.now() + .seconds(10))
        }
    }

    /// To every writer of each blob's shard, and where those are too few, to other nodes, this one first.
    ///
    /// By a map, nodes count for a blob only when all writers of its shard that are up have it, each at the epoch at which it was
    /// asked; whoever takes the shard over then gets it from them. A node that died holds that up until its lease is over.
    private func copyToNodes(
        _ blobs: [Blob], keeping: BlobKeeping, until limit: Instant
    ) async -> [Digest: BlobHolding] {
        var targets: [NodeID: [Blob]] = [:]
        var holdings: [Digest: BlobHolding] = [:]
        if placements.map == nil {
            for blob in blobs {
                for node in placements.writers(of: ShardID(of: blob.digest)) { targets[node, default: []].append(blob) }
            }
            holdings = await copy(targets, at: [:], keeping: keeping, deadline: limit).holdings
        } else {
            var open = blobs
            while let map = placements.map {
                let (held, refused) = await copyToSets(open, by: map, keeping: keeping, deadline: limit)
                merge(held, into: &holdings)
                open.removeAll { holdings[$0.digest] != nil || refused.contains($0.digest) }
                if open.isEmpty || Task.isCancelled { break }
                guard await awaitMap(after: map.epoch, by: limit) else { break }
            }
            for blob in blobs {
                for node in holdings[blob.digest].map({ keeping == .synced ? $0.synced : $0.memory }) ?? [] {
                    targets[node, default: []].append(blob)
                }
            }
        }
        let wanted = min(options.copies, placements.memberCount)
        // Every other member gets its chance, in order, until enough have it.
        for node in [names.nodeID] + placements.others {
            let short = blobs.filter { blob in
                guard
                    let holding = placements.map == nil ? holdings[blob.digest] ?? BlobHolding() : holdings[blob.digest]
                else { return false }
                return (keeping == .synced ? holding.synced.count : holding.memory.union(holding.synced).count) < wanted
                    && !(targets[node]?.contains { $0.digest == blob.digest } ?? false)
            }
            if short.isEmpty { continue }
            merge(await copy([node: short], at: [:], keeping: keeping, deadline: limit).holdings, into: &holdings)
        }
        return holdings
    }

    /// - Returns: those that all writers of their shards hold now, and those that a writer which is up cannot keep: no other map is
    ///   worth waiting for.
    private func copyToSets(
        _ blobs: [Blob], by map: ShardMap, keeping: BlobKeeping, deadline: Instant
    ) async -> (held: [Digest: BlobHolding], refused: Set<Digest>) {
        var targets: [NodeID: [Blob]] = [:]
        var epochs: [ShardID: ShardEpoch] = [:]
        var required: [Digest: Set<NodeID>] = [:]
        for blob in blobs {
            let shard = ShardID(of: blob.digest)
            guard let writers = map.requiredWriters(of: shard) else { continue }
            epochs[shard] = map[shard].epoch
            required[blob.digest] = Set(writers)
            for node in writers { targets[node, default: []].append(blob) }
        }
        let (holdings, refusing) = await copy(targets, at: epochs, keeping: keeping, deadline: deadline)
        let held = holdings.filter { digest, holding in
            required[digest]?.isSubset(of: keeping == .synced ? holding.synced : holding.memory) ?? false
        }
        return (held, Set(required.filter { !$0.value.isDisjoint(with: refusing) }.keys))
    }

    /// Whoever was asked may know more by then: a little later, or when this node's map is newer.
    ///
    /// - Returns: false when the time is over.
    private func awaitMap(after epoch: MapEpoch, by limit: Instant) async -> Bool {
        let retry = NodeClock.now() + Self.retryPause
        while NodeClock.now() < limit, !Task.isCancelled {
            // Cancelled: the loop ends.
            try? await Task.sleep(for: options.movePause)
            if placements.map?.epoch != epoch || NodeClock.now() >= retry { return true }
        }
        return false
    }

    private static let retryPause = Duration.milliseconds(100)

    /// - Returns: what is held, and who refused.
    private func copy(
        _ targets: [NodeID: [Blob]], at epochs: [ShardID: ShardEpoch], keeping: BlobKeeping, deadline limit: Instant
    ) async -> (holdings: [Digest: BlobHolding], refusing: Set<NodeID>) {
        await withTaskGroup(of: (NodeID, [Blob], PeerFailure?).self) { group in
            for (node, blobs) in targets {
                group.addTask {
                    do throws(PeerFailure) {
                        if node == self.names.nodeID {
                            try await self.take(blobs, at: epochs, keeping: keeping, deadline: limit)
                        } else {
                            try await self.peers.push(
                                blobs, at: epochs, to: node, keeping: keeping, deadline: limit)
                        }
                        return (node, blobs, nil)
                    } catch { return (node, blobs, error) }
                }
            }
            var holdings: [Digest: BlobHolding] = [:]
            var refusing: Set<NodeID> = []
            for await (node, blobs, failure) in group {
                if let failure {
                    if failure.isRefused || node == names.nodeID && !failure.isStale { refusing.insert(node) }
                    continue
                }
                for blob in blobs {
                    holdings[blob.digest, default: BlobHolding()].memory.insert(node)
                    if keeping == .synced { holdings[blob.digest, default: BlobHolding()].synced.insert(node) }
                }
            }
            return (holdings, refusing)
        }
    }

    /// Who has what. A place that does not answer leaves as much time again to whoever comes after.
    ///
    /// - Parameters:
    ///   - counts: for a store: nodes count for a blob only when all writers of its shard have it, and those who are asked keep it
    ///     meanwhile. Otherwise it is told where it is.
    ///   - gate: the archive, where each blob costs a request, is asked only for what the others do not hold well enough for it, and
    ///     for so many at most; nil: for all.
    /// - Returns: and whether everybody answered.
    func locate(
        _ digests: [Digest], counts: Bool, enough gate: ClosureGate? = nil, deadline: Instant
    ) async -> (holdings: [Digest: BlobHolding], isCertain: Bool) {
        let map = counts ? placements.map : nil
        var epochs: [ShardID: ShardEpoch] = [:]
        if let map { for shard in digests.map(ShardID.init(of:)) { epochs[shard] = map[shard].epoch } }
        let claims = epochs
        let archive = gate == nil ? nil : tier(.archive)
        let tiers = outer.filter { $0.tier != .redis && (archive == nil || $0.tier != .archive) }
        enum Answer {
            case node(NodeID, PeerHoldings)
            case tier(CacheTier, Set<Digest>, isWhole: Bool)
            case nothing
        }
        let limit = share(of: deadline)
        var (found, isCertain): ([Digest: BlobHolding], Bool) = ([:], true)
        await withTaskGroup(of: Answer.self) { group in
            group.addTask {
                .node(
                    self.names.nodeID,
                    counts
                        ? await self.holdings(digests, epochs: claims, deadline: limit) : self.look(for: digests))
            }
            for node in placements.others {
                group.addTask {
                    do throws(PeerFailure) {
                        let held =
                            counts
                            ? try await self.peers.holdings(digests, at: node, epochs: claims, deadline: limit)
                            : try await self.peers.look(for: digests, at: node, deadline: limit)
                        return .node(node, held)
                    } catch { return .nothing }
                }
            }
            for tier in tiers {
                group.addTask {
                    let (held, isWhole) = await Self.ask(tier, for: digests, counts: counts, by: limit)
                    return .tier(tier.tier, held, isWhole: isWhole)
                }
            }
            for await answer in group {
                switch answer {
                case .node(let node, let held): note(held, at: node, in: &found)
                case .tier(let tier, let held, let isWhole):
                    note(held, in: tier, &found)
                    if !isWhole { isCertain = false }
                case .nothing: isCertain = false
                }
            }
        }
        if let map {
            for (digest, holding) in found {
                let required = Set(map.requiredWriters(of: ShardID(of: digest)) ?? [])
                if required.isEmpty || !required.isSubset(of: holding.synced) { found[digest]?.synced = [] }
                if required.isEmpty || !required.isSubset(of: holding.memory.union(holding.synced)) {
                    found[digest]?.memory = []
                }
            }
        }
        if let gate, let archive {
            let lacking = digests.filter { !gate.isSatisfied(by: found[$0] ?? BlobHolding()) }
            let asked = Array(lacking.prefix(Self.maximumArchiveQuestions))
            let (held, isWhole) = await Self.ask(archive, for: asked, counts: counts, by: share(of: deadline))
            note(held, in: .archive, &found)
            if !isWhole || asked.count < lacking.count { isCertain = false }
        }
        return (found, isCertain)
    }

    private static let maximumArchiveQuestions = 1024
    private static let askedAtOnce = 256

    /// How long one part of a call may wait.
    private func share(of deadline: Instant) -> Instant {
        min(Self.half(until: deadline), NodeClock.now() + options.copyLimit)
    }

    /// In parts: what was found before one failed counts.
    private static func ask(
        _ tier: any BlobTier, for digests: [Digest], counts: Bool, by limit: Instant
    ) async -> (held: Set<Digest>, isWhole: Bool) {
        var held: Set<Digest> = []
        for part in digests.parts(of: askedAtOnce) {
            do throws(TierFailure) {
                held.formUnion(
                    try await counts ? tier.keep(part, deadline: limit) : tier.has(part, deadline: limit))
            } catch { return (held, false) }
        }
        return (held, true)
    }

    private func note(_ held: Set<Digest>, in tier: CacheTier, _ found: inout [Digest: BlobHolding]) {
        for digest in held { found[digest, default: BlobHolding()].tiers.insert(TierSet(tier)) }
    }

    private func note(_ held: PeerHoldings, at node: NodeID, in found: inout [Digest: BlobHolding]) {
        for digest in held.memory { found[digest, default: BlobHolding()].memory.insert(node) }
        for digest in held.disk { found[digest, default: BlobHolding()].synced.insert(node) }
    }

    private func merge(_ more: [Digest: BlobHolding], into holdings: inout [Digest: BlobHolding]) {
        for (digest, holding) in more { holdings[digest, default: BlobHolding()].formUnion(holding) }
    }
}

extension [Blob] {
    /// In order: those for which it holds, and the others.
    fileprivate func split(by isSo: (Blob) -> Bool) -> (those: [Blob], others: [Blob]) {
        (filter(isSo), filter { !isSo($0) })
    }
}
