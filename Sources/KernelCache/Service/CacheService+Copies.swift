import CacheCore
import EsperTypes
import RaftRuntime

/// Putting copies where they belong, and finding out where they are.
extension CacheService {
    private static let pushLimit: Duration = .seconds(5)

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
        let isDurable = mode != .memory
        let needsDisks = isDurable && (mode == .archived ? archive == nil : catalog == nil && archive == nil)
        var holdings = await copyToNodes(blobs, isSynced: needsDisks, deadline: deadline)
        fill(.redis, blobs)
        switch mode {
        case .memory:
            fill(catalog == nil ? .archive : .catalog, blobs)
        case .durable:
            var isPut = false
            if let catalog { isPut = await put(blobs, in: catalog, Self.half(until: deadline), &holdings) }
            if !isPut, let archive {
                isPut = await put(blobs, in: archive, Self.half(until: deadline), &holdings)
            }
            if !isPut, !needsDisks {
                merge(await copyToNodes(blobs, isSynced: true, deadline: deadline), into: &holdings)
            }
        case .archived:
            if let archive { _ = await put(blobs, in: archive, deadline, &holdings) }
            fill(.catalog, blobs)
        }
        return holdings
    }

    /// A tier that hangs leaves as much time to the next one, and to the disks.
    private static func half(until deadline: Instant) -> Instant {
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

    /// To every writer of each blob's shard; where one does not answer, to another node, this one first.
    private func copyToNodes(_ blobs: [Blob], isSynced: Bool, deadline: Instant) async -> [Digest: BlobHolding] {
        var targets: [NodeID: [Blob]] = [:]
        for blob in blobs {
            for node in placements.writers(of: ShardID(of: blob.digest)) { targets[node, default: []].append(blob) }
        }
        var holdings = await copy(targets, isSynced: isSynced, deadline: deadline)
        for blob in blobs where memory.contains(blob.digest) {
            holdings[blob.digest, default: BlobHolding()].memory.insert(names.nodeID)
        }
        let wanted = min(options.copies, placements.memberCount)
        // Every other member gets its chance, in order, until enough have it.
        for node in [names.nodeID] + placements.others {
            let short = blobs.filter { blob in
                let holding = holdings[blob.digest] ?? BlobHolding()
                return (isSynced ? holding.synced.count : holding.memory.union(holding.synced).count) < wanted
                    && !(targets[node]?.contains { $0.digest == blob.digest } ?? false)
            }
            if short.isEmpty { continue }
            merge(await copy([node: short], isSynced: isSynced, deadline: deadline), into: &holdings)
        }
        return holdings
    }

    private func copy(
        _ targets: [NodeID: [Blob]], isSynced: Bool, deadline: Instant
    ) async -> [Digest: BlobHolding] {
        let limit = min(deadline, NodeClock.now() + Self.pushLimit)
        return await withTaskGroup(of: (NodeID, [Blob], Bool).self) { group in
            for (node, blobs) in targets {
                group.addTask {
                    do throws(PeerFailure) {
                        if node == self.names.nodeID {
                            try await self.take(blobs, isSynced: isSynced, deadline: limit)
                        } else {
                            try await self.peers.push(blobs, to: node, isSynced: isSynced, deadline: limit)
                        }
                        return (node, blobs, true)
                    } catch { return (node, blobs, false) }
                }
            }
            var holdings: [Digest: BlobHolding] = [:]
            for await (node, blobs, isDone) in group where isDone {
                for blob in blobs {
                    holdings[blob.digest, default: BlobHolding()].memory.insert(node)
                    if isSynced { holdings[blob.digest, default: BlobHolding()].synced.insert(node) }
                }
            }
            return holdings
        }
    }

    /// Who has what; those who are asked keep it for the time of a store.
    ///
    /// - Returns: and whether everybody answered.
    func locate(_ digests: [Digest], deadline: Instant) async -> (holdings: [Digest: BlobHolding], isCertain: Bool) {
        let own = await self.holdings(digests, deadline: deadline)
        var found: [Digest: BlobHolding] = [:]
        note(own, at: names.nodeID, in: &found)
        enum Answer {
            case node(NodeID, PeerHoldings)
            case tier(CacheTier, Set<Digest>)
            case nothing
        }
        let limit = min(deadline, NodeClock.now() + Self.pushLimit)
        var isCertain = true
        await withTaskGroup(of: Answer.self) { group in
            for node in placements.others {
                group.addTask {
                    do throws(PeerFailure) {
                        return .node(node, try await self.peers.holdings(digests, at: node, deadline: limit))
                    } catch { return .nothing }
                }
            }
            for tier in outer where tier.tier != .redis {
                group.addTask {
                    do throws(TierFailure) {
                        return .tier(tier.tier, try await tier.has(digests, deadline: limit))
                    } catch { return .nothing }
                }
            }
            for await answer in group {
                switch answer {
                case .node(let node, let held): note(held, at: node, in: &found)
                case .tier(let tier, let held):
                    for digest in held { found[digest, default: BlobHolding()].tiers.insert(TierSet(tier)) }
                case .nothing: isCertain = false
                }
            }
        }
        return (found, isCertain)
    }

    private func note(_ held: PeerHoldings, at node: NodeID, in found: inout [Digest: BlobHolding]) {
        for digest in held.memory { found[digest, default: BlobHolding()].memory.insert(node) }
        for digest in held.disk { found[digest, default: BlobHolding()].synced.insert(node) }
    }

    private func merge(_ more: [Digest: BlobHolding], into holdings: inout [Digest: BlobHolding]) {
        for (digest, holding) in more { holdings[digest, default: BlobHolding()].formUnion(holding) }
    }
}
