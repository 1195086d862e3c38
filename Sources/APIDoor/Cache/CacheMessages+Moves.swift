internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import KernelCache
internal import SwiftProtobuf

// The map of shards and its moves on the wire.

extension ProtoRebalanceRequest {
    func asked() throws(CacheFailure) -> KernelCache.RebalanceRequest.Action {
        switch action {
        case .status?: return .status
        case .plan?: return .plan
        case .start?: return .start
        case .cancel?: return .cancel
        case .throttle(let throttle)?:
            guard throttle.maximumIncoming <= UInt8.max, throttle.maximumOutgoing <= UInt8.max else {
                throw CacheFailure(.invalid, "at most \(UInt8.max) shards come to a node, or leave it, at a time")
            }
            return .throttle(
                ThrottleChange(
                    bytesPerSecond: throttle.hasBytesPerSecond ? throttle.bytesPerSecond : nil,
                    maximumIncoming: throttle.hasMaximumIncoming ? UInt8(throttle.maximumIncoming) : nil,
                    maximumOutgoing: throttle.hasMaximumOutgoing ? UInt8(throttle.maximumOutgoing) : nil))
        case nil: throw CacheFailure(.invalid, "say what to do: status, plan, start, cancel or throttle")
        }
    }
}

extension ProtoRebalanceResponse {
    init(_ reply: RebalanceReply) {
        self.init()
        epoch = reply.epoch.rawValue
        moves = reply.moves.map { move in
            .with {
                $0.shard = UInt32(move.shard.rawValue)
                $0.id = move.id?.rawValue ?? 0
                $0.step = move.step.name
                $0.reason = move.reason.name
                $0.from = move.from
                $0.to = move.to
                $0.estimatedBytes = move.estimatedBytes
            }
        }
        leftBytes = reply.leftBytes
        copiedBytes = reply.copiedBytes
        bytesPerSecond = reply.bytesPerSecond
        manual = reply.isManual
        maximumBytesPerSecond = reply.throttle.bytesPerSecond
        maximumIncoming = UInt32(reply.throttle.maximumIncoming)
        maximumOutgoing = UInt32(reply.throttle.maximumOutgoing)
        unreachable = reply.unreachable
        changed = reply.changed
    }
}

extension ProtoShardMapResponse {
    init(_ reply: ShardMapReply) {
        self.init()
        guard let map = reply.map else { return }
        epoch = map.epoch.rawValue
        copies = UInt32(map.copies)
        hosts = map.hosts.map { host in
            .with {
                $0.id = host.id.rawValue
                $0.name = reply.names[host.id] ?? "\(host.id)"
                $0.weight = host.weight
                $0.zone = host.zone
                $0.draining = host.isDraining
                $0.down = host.isDown
                $0.owned = UInt32(map.shards.count { $0.placement.owner == host.id })
                $0.held = UInt32(map.shards.count { $0.placement.contains(host.id) })
            }
        }
        shards = map.shards.map { shard in
            .with {
                $0.members = shard.placement.members.map(\.rawValue)
                $0.epoch = shard.epoch.rawValue
                $0.step = shard.step.name
                $0.target = shard.move?.to.members.map(\.rawValue) ?? []
                $0.strays = shard.strays.map(\.rawValue)
            }
        }
    }
}
