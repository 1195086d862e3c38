import CacheCore
import EsperTypes
import Metrics
import Logging
import RaftRuntime
import Synchronization

// Bringing a shard's blobs to this node.
extension Rebalancer {
    private static let askLimit = Duration.seconds(5)
    private static let diskLimit = Duration.seconds(30)

    /// Until it is done, or the map asks for it no more.
    func perform(_ work: MoveWork, _ pull: MovePull) async {
        while !Task.isCancelled, !pull.isCancelled {
            if await attempt(work, pull) {
                state.withLock { state in
                    switch work {
                    case .copy(let move, _, _): state.done.copied.insert(move)
                    case .verify(let move, _, _): state.done.verified.insert(move)
                    case .absorb(let absorption): state.done.absorbed.insert(absorption)
                    }
                }
                telling.ring()
                break
            }
            // Somebody does not answer, or has not come as far as this node.
            await pause()
        }
        state.withLock { state in
            if state.work[work] === pull { state.work[work] = nil }
            state.hasRoom = true
        }
        following.ring()
    }

    /// - Returns: whether this node has all that those who answered have, and somebody did.
    private func attempt(_ work: MoveWork, _ pull: MovePull) async -> Bool {
        let sources: [NodeID]
        switch work {
        case .absorb(let absorption): sources = [absorption.stray]
        case .copy, .verify:
            guard let shard = parts.placements.map?[work.shard], shard.epoch == work.claim.epoch else { return false }
            sources = shard.placement.members.filter { $0 != me }
        }
        let isCopy = if case .copy = work { true } else { false }
        var isHeard = false
        for source in sources {
            guard let missing = await missing(work, at: source) else { continue }
            guard await bring(missing, from: source, pull) else { continue }
            // Whatever was missing is looked for again, until nothing is; after a copy by the step that follows.
            if !isCopy, !missing.isEmpty { return false }
            isHeard = true
        }
        return isHeard
    }

    /// What the source has and this node's disk lacks, in the order in which it should come; nil when the source does not answer.
    private func missing(_ work: MoveWork, at source: NodeID) async -> [BlobReference]? {
        let listed: [BlobReference]
        do throws(PeerFailure) {
            if case .verify(_, let shard, let epoch) = work {
                guard let different = try await compare(shard, epoch, with: source) else { return nil }
                listed = different
            } else {
                let answer = try await parts.peers.digests(
                    of: work.shard, work.claim, at: source, deadline: NodeClock.now() + Self.askLimit)
                guard case .value(let all) = answer else { return nil }
                listed = all
            }
        } catch { return nil }
        let there = await parts.disk?.secure(listed.map(\.digest), deadline: NodeClock.now() + Self.diskLimit) ?? []
        return listed.filter { !there.contains($0.digest) }
    }

    /// Goes down the two Merkle trees where they differ. - Returns: what the other has there.
    private func compare(
        _ shard: ShardID, _ epoch: ShardEpoch, with source: NodeID
    ) async throws(PeerFailure) -> [BlobReference]? {
        guard let disk = parts.disk else { return nil }
        let own = ShardTree(disk.entries(of: shard).map(\.merkleItem))
        return try await parts.peers.difference(
            from: own, shard, epoch, at: source, deadline: { NodeClock.now() + Self.askLimit })?.blobs
    }

    /// Fetches, checks and syncs. - Returns: false when the source failed, or the map asks for it no more.
    private func bring(_ blobs: [BlobReference], from source: NodeID, _ pull: MovePull) async -> Bool {
        guard let disk = parts.disk else { return false }
        pull.found(missing: blobs.reduce(0) { $0 + UInt64($1.size) })
        var rest = blobs[...]
        while !rest.isEmpty {
            let portion = state.withLock { $0.rate.portion }
            var (bytes, batch): (Int, [Digest]) = (0, [])
            while let next = rest.first,
                batch.isEmpty || bytes + Int(next.size) + (batch.count + 1) * MoveRate.blobCost <= portion
            {
                bytes += Int(next.size)
                batch.append(next.digest)
                rest.removeFirst()
            }
            await pace(blobs: batch.count, bytes: bytes) { pull.isCancelled }
            if Task.isCancelled || pull.isCancelled { return false }
            do throws(PeerFailure) {
                // Checked against their names. What the source has thrown away since is not missing any more.
                let found = try await parts.peers.fetch(
                    batch, from: source, isUse: false, deadline: NodeClock.now() + Self.askLimit)
                heard(found)
                try await disk.put(
                    found.blobs.map { Blob(digest: $0.key, bytes: $0.value) }, isSynced: true,
                    deadline: NodeClock.now() + Self.diskLimit)
            } catch {
                parts.logger.debug("a copy failed", metadata: ["peer.id": "\(source)", "error": "\(error)"])
                return false
            }
            pull.took(UInt64(bytes))
            metrics.movedBytes.increment(by: bytes)
            state.withLock { state in
                state.movedBytes += UInt64(bytes)
                state.measured.add(UInt64(bytes), at: NodeClock.now())
            }
        }
        return true
    }
}

extension BlobDirectory.Entry {
    var merkleItem: MerkleItem { MerkleItem(BlobReference(digest: digest, size: size)) }
}
