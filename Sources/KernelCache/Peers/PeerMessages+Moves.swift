import CacheCore
import EsperProtocol
import EsperTypes
import FoundationEssentials

// What nodes tell each other about the map of shards and its moves.

extension ProtoPeerReportRequest {
    /// More is nonsense: there is a move for each shard at the most.
    private static let maximumEntries = ShardID.count * 4

    init(_ report: PeerReport) {
        self.init()
        map = report.said.map.rawValue
        copied = report.said.copied.map(\.rawValue).sorted()
        verified = report.said.verified.map(\.rawValue).sorted()
        absorbed = report.said.absorbed.map { absorption in
            var message = ProtoPeerAbsorption()
            message.shard = UInt32(absorption.shard.rawValue)
            message.epoch = absorption.epoch.rawValue
            message.stray = absorption.stray.rawValue
            return message
        }
        hasLoads_p = report.hasLoads
        if report.hasLoads {
            loads = report.said.loads.sorted { $0.key < $1.key }.map { shard, load in
                var message = ProtoPeerShardLoad()
                message.shard = UInt32(shard.rawValue)
                message.bytes = load.bytes
                message.heat = load.heat
                return message
            }
        }
        weight = report.weight
        draining = report.isDraining
    }

    /// Nil when it makes no sense.
    var report: PeerReport? {
        guard copied.count <= Self.maximumEntries, verified.count <= Self.maximumEntries,
            absorbed.count <= Self.maximumEntries, loads.count <= ShardID.count, MapLimits.weight.contains(weight)
        else { return nil }
        var said = RebalanceDriver.Report(
            map: MapEpoch(map), copied: Set(copied.map { MoveID($0) }), verified: Set(verified.map { MoveID($0) }))
        for message in absorbed {
            guard let shard = ShardID(Int(message.shard)) else { return nil }
            said.absorbed.insert(
                .init(shard: shard, epoch: ShardEpoch(message.epoch), stray: NodeID(message.stray)))
        }
        for message in loads {
            guard let shard = ShardID(Int(message.shard)) else { return nil }
            said.loads[shard] = .init(bytes: message.bytes, heat: message.heat)
        }
        return PeerReport(said: said, hasLoads: hasLoads_p, weight: weight, isDraining: draining)
    }
}

extension ProtoPeerReportResponse {
    init(_ reply: PeerReportReply?) {
        self.init()
        guard let reply else { return }
        taken = true
        leaseMilliseconds = reply.lease.map(PeerMessages.milliseconds) ?? 0
        base = reply.base.rawValue
    }

    var reply: PeerReportReply? {
        guard taken else { return nil }
        return PeerReportReply(
            lease: leaseMilliseconds == 0 ? nil : PeerMessages.duration(leaseMilliseconds), base: MapEpoch(base))
    }
}

extension ProtoPeerCompareRequest {
    init(_ question: ShardQuestion) {
        self.init()
        shard = UInt32(question.shard.rawValue)
        epoch = question.epoch.rawValue
        ranges = question.ranges.map { Data($0.digits) }
        listed = question.listed.map { Data($0.digits) }
    }

    /// Nil when it makes no sense, or asks for too much.
    var question: ShardQuestion? {
        guard ranges.count <= ShardQuestion.maximumRanges, listed.count <= ShardQuestion.maximumListed,
            let shard = ShardID(Int(shard))
        else { return nil }
        let summed = ranges.compactMap { MerkleRange(digits: [UInt8]($0)) }
        let wanted = listed.compactMap { MerkleRange(digits: [UInt8]($0)) }
        guard summed.count == ranges.count, wanted.count == listed.count else { return nil }
        return ShardQuestion(shard: shard, epoch: ShardEpoch(epoch), ranges: summed, listed: wanted)
    }
}

extension ProtoPeerCompareResponse {
    init(_ answer: ShardAnswer<ShardParts>) {
        self.init()
        switch answer {
        case .notOwner(let map): notOwner.epoch = map.rawValue
        case .value(let parts):
            nodes = parts.nodes.map { node in
                var message = ProtoPeerMerkleNode()
                message.count = UInt64(node.count)
                message.high = node.sum.high
                message.low = node.sum.low
                return message
            }
            digests = PeerMessages.data(parts.blobs.map(\.digest))
            sizes = parts.blobs.map(\.size)
        }
    }

    /// Nil when it does not answer the question.
    func parts(of question: ShardQuestion) -> ShardParts? {
        guard nodes.count == question.ranges.count, let found = PeerMessages.digests(digests),
            found.count == sizes.count
        else { return nil }
        return ShardParts(
            nodes: zip(question.ranges, nodes).map { range, node in
                MerkleNode(
                    range: range, count: Int(clamping: node.count), sum: MerkleSum(high: node.high, low: node.low))
            }, blobs: zip(found, sizes).map { BlobReference(digest: $0, size: $1) })
    }
}

extension ProtoPeerProgressResponse {
    init(_ progress: MoveProgress) {
        self.init()
        moves = progress.moves.map { move in
            var message = ProtoPeerMoveProgress()
            message.move = move.id.rawValue
            message.copiedBytes = move.copiedBytes
            message.leftBytes = move.leftBytes
            return message
        }
        bytesPerSecond = progress.bytesPerSecond
        allowedBytesPerSecond = progress.allowedBytesPerSecond
        movedBytes = progress.movedBytes
    }

    var progress: MoveProgress {
        MoveProgress(
            moves: moves.map {
                .init(id: MoveID($0.move), copiedBytes: $0.copiedBytes, leftBytes: $0.leftBytes)
            }, bytesPerSecond: bytesPerSecond, allowedBytesPerSecond: allowedBytesPerSecond, movedBytes: movedBytes)
    }
}
