import CacheCore
import EsperTypes

/// Where the trees of two nodes differ.
struct MerkleDifference: Sendable {
    /// Of at most a leaf's items on either side.
    var ranges: [MerkleRange] = []
    /// What the other has there.
    var blobs: [BlobReference] = []
}

extension PeerExchange {
    /// Goes down the two trees where they differ, in as many questions as they are deep.
    ///
    /// - Parameter deadline: of each question.
    /// - Returns: nil when the other does not answer for the shard at this epoch.
    func difference(
        from own: ShardTree, _ shard: ShardID, _ epoch: ShardEpoch, at node: NodeID, deadline: () -> Instant
    ) async throws(PeerFailure) -> MerkleDifference? {
        var difference = MerkleDifference()
        var (open, listed): ([MerkleRange], [MerkleRange]) = ([.everything], [])
        while !open.isEmpty || !listed.isEmpty {
            let ranges = Array(open.prefix(ShardQuestion.maximumRanges))
            let lists = Array(listed.prefix(ShardQuestion.maximumListed))
            open.removeFirst(ranges.count)
            listed.removeFirst(lists.count)
            let answer = try await compare(
                ShardQuestion(shard: shard, epoch: epoch, ranges: ranges, listed: lists), at: node, deadline: deadline()
            )
            guard case .value(let parts) = answer else { return nil }
            for node in parts.nodes {
                switch own.step(node) {
                case .equal: break
                case .divide(let parts): open += parts
                case .compare(let range): listed.append(range)
                }
            }
            difference.ranges += lists
            difference.blobs += parts.blobs
        }
        return difference
    }
}
