internal import CacheCore
internal import EsperTypes
internal import KernelCache

/// The map of shards and its moves as JSON.
enum MapAnswers {
    static let rebalanceFields = [
        Field("epoch", .unsigned, isRequired: true, "The map's version; 0: there is none yet."),
        Field(
            "moves",
            .list(
                .object([
                    Field("shard", .unsigned, isRequired: true, "0 to 1023."),
                    Field("step", .text, isRequired: true, "How far it is; stable: not planned yet."),
                    Field("reason", .text, isRequired: true, "balance, drain or repair."),
                    Field("from", .list(.text), isRequired: true, "Nodes, the owner first."),
                    Field("to", .list(.text), isRequired: true, "Nodes, the owner first."),
                    Field("estimated_bytes", .unsigned, isRequired: true, "For each node that joins."),
                ])), isRequired: true, "Planned and under way; with plan, what start would move."),
        Field("left_bytes", .unsigned, isRequired: true, "Still to be copied, as far as it is known."),
        Field("copied_bytes", .unsigned, isRequired: true, "Copied for the moves under way."),
        Field("bytes_per_second", .optional(.unsigned), isRequired: true, "Measured; null: nothing was measured."),
        Field("manual", .boolean, isRequired: true, "Shards are moved for balance only after start."),
        Field("maximum_bytes_per_second", .unsigned, isRequired: true, "For each node that receives."),
        Field("maximum_incoming", .unsigned, isRequired: true, "Shards that come to one node at a time."),
        Field("maximum_outgoing", .unsigned, isRequired: true, "Shards that leave one node at a time."),
        Field("unreachable", .list(.text), isRequired: true, "Nodes that did not tell how far they are."),
        Field("changed", .unsigned, isRequired: true, "Moves that the request has planned or ended."),
    ]

    static func rebalance(_ reply: RebalanceReply) -> JSONValue {
        .object([
            "epoch": .unsigned(reply.epoch.rawValue),
            "moves": .list(
                reply.moves.map { move in
                    .object([
                        "shard": .unsigned(UInt64(move.shard.rawValue)), "step": .text(move.step.name),
                        "reason": .text(move.reason.name), "from": .list(move.from.map(JSONValue.text)),
                        "to": .list(move.to.map(JSONValue.text)), "estimated_bytes": .unsigned(move.estimatedBytes),
                    ])
                }), "left_bytes": .unsigned(reply.leftBytes), "copied_bytes": .unsigned(reply.copiedBytes),
            "bytes_per_second": reply.bytesPerSecond == 0 ? .null : .unsigned(reply.bytesPerSecond),
            "manual": .boolean(reply.isManual),
            "maximum_bytes_per_second": .unsigned(reply.throttle.bytesPerSecond),
            "maximum_incoming": .unsigned(UInt64(reply.throttle.maximumIncoming)),
            "maximum_outgoing": .unsigned(UInt64(reply.throttle.maximumOutgoing)),
            "unreachable": .list(reply.unreachable.map(JSONValue.text)), "changed": .unsigned(UInt64(reply.changed)),
        ])
    }

    static let mapFields = [
        Field("epoch", .unsigned, isRequired: true, "Grows with every change; 0: there is no map yet."),
        Field("copies", .unsigned, isRequired: true, "Of each blob, as far as there are hosts."),
        Field(
            "hosts",
            .list(
                .object([
                    Field("name", .text, isRequired: true, "The node."),
                    Field("weight", .unsigned, isRequired: true, "Its share relative to the others'."),
                    Field("zone", .text, isRequired: true, "Its failure domain."),
                    Field("draining", .boolean, isRequired: true, "Its shards move away."),
                    Field("down", .boolean, isRequired: true, "Its lease is over."),
                    Field("owned", .unsigned, isRequired: true, "Shards that it coordinates."),
                    Field("held", .unsigned, isRequired: true, "Shards of which it holds copies."),
                ])), isRequired: true, "Nodes that can hold blobs."),
        Field(
            "shards",
            .list(
                .object([
                    Field("members", .list(.text), isRequired: true, "Who holds it, the owner first."),
                    Field("epoch", .unsigned, isRequired: true, "Of this shard."),
                    Field("step", .text, isRequired: true, "stable, planned, copy, verify, flip or drain."),
                    Field("target", .list(.text), isRequired: true, "While it moves: where to."),
                ])), isRequired: true, "1024, in order."),
    ]

    static func map(_ reply: ShardMapReply) -> JSONValue {
        func named(_ nodes: [NodeID]) -> JSONValue {
            .list(nodes.map { .text(reply.names[$0] ?? "\($0)") })
        }
        guard let map = reply.map else {
            return .object(["epoch": .unsigned(0), "copies": .unsigned(0), "hosts": .list([]), "shards": .list([])])
        }
        return .object([
            "epoch": .unsigned(map.epoch.rawValue), "copies": .unsigned(UInt64(map.copies)),
            "hosts": .list(
                map.hosts.map { host in
                    .object([
                        "name": .text(reply.names[host.id] ?? "\(host.id)"), "weight": .unsigned(UInt64(host.weight)),
                        "zone": .text(host.zone), "draining": .boolean(host.isDraining), "down": .boolean(host.isDown),
                        "owned": .unsigned(UInt64(map.shards.count { $0.placement.owner == host.id })),
                        "held": .unsigned(UInt64(map.shards.count { $0.placement.contains(host.id) })),
                    ])
                }),
            "shards": .list(
                map.shards.map { shard in
                    .object([
                        "members": named(shard.placement.members), "epoch": .unsigned(shard.epoch.rawValue),
                        "step": .text(shard.step.name), "target": named(shard.move?.to.members ?? []),
                    ])
                }),
        ])
    }
}
