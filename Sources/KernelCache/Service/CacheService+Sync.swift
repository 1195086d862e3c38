import CacheCore
import EsperTypes
import RaftRuntime

/// Comparing what holders of shards have.
extension CacheService {
    public func sync(_ request: SyncRequest) async throws(CacheFailure) -> SyncReply {
        try Self.checkTime(request.deadline)
        guard let disk else { throw CacheFailure(.disabled, "this node keeps no blobs on its disk") }
        var reply = SyncReply()
        var theirs: [NodeID: [ShardID: ShardSummary]] = [:]
        for node in placements.others {
            do throws(PeerFailure) {
                let sums = try await peers.summaries(
                    at: node, deadline: min(request.deadline, NodeClock.now() + .seconds(10)))
                theirs[node] = Dictionary(sums.map { ($0.shard, $0) }) { $1 }
            } catch { reply.unreachable.append(placements.name(of: node) ?? "\(node)") }
        }
        let mine = Dictionary(await summaries().map { ($0.shard, $0) }) { $1 }
        let all = (0..<ShardID.count).compactMap { ShardID($0) }
        for shard in request.shard.map({ [$0] }) ?? all where placements.holds(shard) {
            reply.shards += 1
            let others = placements.writers(of: shard).filter { theirs[$0] != nil }
            let empty = ShardSummary(shard: shard)
            if others.allSatisfy({ (theirs[$0]?[shard] ?? empty) == (mine[shard] ?? empty) }) {
                reply.equal += 1
                continue
            }
            for node in others where (theirs[node]?[shard] ?? empty) != (mine[shard] ?? empty) {
                await repair(shard, with: node, disk, request, &reply)
            }
        }
        counters.syncDifferences.add(UInt64(reply.differences))
        return reply
    }

    /// Union of the two: what one lacks, the other gives.
    private func repair(
        _ shard: ShardID, with node: NodeID, _ disk: BlobDirectory, _ request: SyncRequest, _ reply: inout SyncReply
    ) async {
        do throws(PeerFailure) {
            guard case .value(let all) = try await peers.digests(of: shard, nil, at: node, deadline: request.deadline)
            else { return }
            let theirs = Set(all.map(\.digest))
            let mine = Set(disk.entries(of: shard).map(\.digest))
            let (wanted, given) = (theirs.subtracting(mine).sorted(), mine.subtracting(theirs).sorted())
            reply.differences += wanted.count + given.count
            if request.isDryRun { return }
            for start in stride(from: 0, to: wanted.count, by: 16) {
                let part = Array(wanted[start..<min(start + 16, wanted.count)])
                let bytes = try await peers.fetch(part, from: node, deadline: request.deadline)
                let blobs = bytes.map { Blob(digest: $0.key, bytes: $0.value) }
                try await disk.put(blobs, isSynced: true)
                reply.note(blobs)
            }
            for start in stride(from: 0, to: given.count, by: 16) {
                let bytes = try await disk.get(Array(given[start..<min(start + 16, given.count)]))
                let blobs = bytes.map { Blob(digest: $0.key, bytes: $0.value) }
                try await peers.push(blobs, at: [:], to: node, keeping: .synced, deadline: request.deadline)
                reply.note(blobs)
            }
        } catch {
            let name = placements.name(of: node) ?? "\(node)"
            if !reply.unreachable.contains(name) { reply.unreachable.append(name) }
        }
    }
}

extension SyncReply {
    fileprivate mutating func note(_ blobs: [Blob]) {
        repairedBlobs += blobs.count
        repairedBytes += blobs.reduce(0) { $0 + UInt64($1.bytes.count) }
    }
}
