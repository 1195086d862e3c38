public import EsperTypes

// Command format 1: a tag, then the fields. A change of meaning is a new tag.

extension MapCommand {
    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .found(let hosts, let placements, let copies):
            writer.write(UInt8(1))
            writer.write(array: hosts) { $1.encode(into: &$0) }
            writer.write(array: placements) { $1.encode(into: &$0) }
            writer.write(UInt8(clamping: copies))
        case .admit(let id, let weight, let zone):
            writer.write(UInt8(2))
            writer.write(id)
            writer.write(weight)
            writer.write(zone)
        case .remove(let id):
            writer.write(UInt8(3))
            writer.write(id)
        case .down(let id, let seen):
            writer.write(UInt8(4))
            writer.write(id)
            writer.write(seen)
        case .up(let id, let seen):
            writer.write(UInt8(5))
            writer.write(id)
            writer.write(seen)
        case .setDraining(let id, let isDraining):
            writer.write(UInt8(6))
            writer.write(id)
            writer.write(isDraining)
        case .plan(let moves):
            writer.write(UInt8(7))
            writer.write(array: moves) { $1.encode(into: &$0) }
        case .advance(let changes):
            writer.write(UInt8(8))
            writer.write(array: changes) { $1.encode(into: &$0) }
        case .cancel(let changes):
            writer.write(UInt8(9))
            writer.write(array: changes) { $1.encode(into: &$0) }
        case .revive(let revivals):
            writer.write(UInt8(10))
            writer.write(array: revivals) { writer, revival in
                writer.write(revival.shard.rawValue)
                writer.write(revival.epoch)
                revival.to.encode(into: &writer)
            }
        case .forgetStray(let shard, let node, let epoch):
            writer.write(UInt8(11))
            writer.write(shard.rawValue)
            writer.write(node)
            writer.write(epoch)
        case .setThrottle(let throttle):
            writer.write(UInt8(12))
            throttle.encode(into: &writer)
        case .setCopies(let copies):
            writer.write(UInt8(13))
            writer.write(UInt8(clamping: copies))
        case .setManual(let isManual):
            writer.write(UInt8(14))
            writer.write(isManual)
        case .finish(let changes, let node):
            writer.write(UInt8(15))
            writer.write(array: changes) { $1.encode(into: &$0) }
            writer.write(node)
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1:
            let hosts = try reader.readArray(atMost: MapLimits.hosts) { reader throws(DecodingError) in
                try ShardMap.Host(from: &reader)
            }
            let placements = try reader.readArray(atMost: ShardID.count) { reader throws(DecodingError) in
                try Placement(from: &reader)
            }
            self = .found(hosts: hosts, placements: placements, copies: Int(try reader.read(UInt8.self)))
        case 2:
            let id = try reader.read(NodeID.self)
            let weight = try reader.read(UInt32.self)
            self = .admit(id, weight: weight, zone: try reader.readString(atMost: MapLimits.zoneBytes))
        case 3: self = .remove(try reader.read())
        case 4:
            let id = try reader.read(NodeID.self)
            self = .down(id, seen: try reader.read())
        case 5:
            let id = try reader.read(NodeID.self)
            self = .up(id, seen: try reader.read())
        case 6:
            let id = try reader.read(NodeID.self)
            self = .setDraining(id, try reader.readBool())
        case 7:
            self = .plan(
                try reader.readArray(atMost: ShardID.count) { reader throws(DecodingError) in
                    try PlannedMove(from: &reader)
                })
        case 8: self = .advance(try StepChange.readArray(&reader))
        case 9: self = .cancel(try StepChange.readArray(&reader))
        case 10:
            self = .revive(
                try reader.readArray(atMost: ShardID.count) { reader throws(DecodingError) in
                    let shard = try ShardID(from: &reader)
                    let epoch = try reader.read(ShardEpoch.self)
                    return Revival(shard: shard, epoch: epoch, to: try Placement(from: &reader))
                })
        case 11:
            let shard = try ShardID(from: &reader)
            let node = try reader.read(NodeID.self)
            self = .forgetStray(shard, node, epoch: try reader.read())
        case 12: self = .setThrottle(try Throttle(from: &reader))
        case 13: self = .setCopies(Int(try reader.read(UInt8.self)))
        case 14: self = .setManual(try reader.readBool())
        case 15:
            let changes = try StepChange.readArray(&reader)
            self = .finish(changes, by: try reader.read())
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension MapReply {
    public func encode(into writer: inout ByteWriter) {
        writer.write(epoch)
        writer.write(applied)
        writer.write(refused)
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        epoch = try reader.read()
        applied = try reader.read()
        refused = try reader.read()
    }
}

extension PlannedMove {
    func encode(into writer: inout ByteWriter) {
        writer.write(shard.rawValue)
        writer.write(epoch)
        to.encode(into: &writer)
        writer.write(reason.rawValue)
        writer.write(estimatedBytes)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        let shard = try ShardID(from: &reader)
        let epoch = try reader.read(ShardEpoch.self)
        let to = try Placement(from: &reader)
        let reason = try ShardMap.Move.Reason(from: &reader)
        self.init(shard: shard, epoch: epoch, to: to, reason: reason, estimatedBytes: try reader.read())
    }
}

extension StepChange {
    func encode(into writer: inout ByteWriter) {
        writer.write(shard.rawValue)
        writer.write(move)
        writer.write(step.rawValue)
        writer.write(epoch)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        let shard = try ShardID(from: &reader)
        let move = try reader.read(MoveID.self)
        let step = try ShardMap.Step(from: &reader)
        self.init(shard: shard, move: move, step: step, epoch: try reader.read())
    }

    static func readArray(_ reader: inout ByteReader) throws(DecodingError) -> [StepChange] {
        try reader.readArray(atMost: ShardID.count) { reader throws(DecodingError) in try StepChange(from: &reader) }
    }
}

extension ShardID {
    init(from reader: inout ByteReader) throws(DecodingError) {
        let raw = try reader.read(UInt16.self)
        guard let shard = ShardID(Int(raw)) else { throw .oversized(Int(raw)) }
        self = shard
    }
}
