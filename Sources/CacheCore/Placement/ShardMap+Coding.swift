public import EsperTypes

// Map format 1. Counts and members are bounded, and what no map can be is refused.

extension ShardMap {
    public func encode(into writer: inout ByteWriter) {
        writer.write(UInt8(1))
        writer.write(epoch)
        writer.write(UInt8(copies))
        throttle.encode(into: &writer)
        writer.write(isManual)
        writer.write(nextMove)
        writer.write(array: hosts) { $1.encode(into: &$0) }
        writer.write(array: shards) { $1.encode(into: &$0) }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        let format = try reader.read(UInt8.self)
        guard format == 1 else { throw .unknownTag(UInt64(format)) }
        epoch = try reader.read()
        let copies = Int(try reader.read(UInt8.self))
        guard MapLimits.copies.contains(copies) else { throw .oversized(copies) }
        self.copies = copies
        throttle = try Throttle(from: &reader)
        isManual = try reader.readBool()
        nextMove = try reader.read()
        hosts = try reader.readArray(atMost: MapLimits.hosts) { reader throws(DecodingError) in
            try Host(from: &reader)
        }
        shards = try reader.readArray(atMost: ShardID.count) { reader throws(DecodingError) in
            try Shard(from: &reader)
        }
        guard shards.count == ShardID.count else { throw .oversized(shards.count) }
        guard zip(hosts, hosts.dropFirst()).allSatisfy({ $0.id < $1.id }) else { throw .unknownTag(0) }
    }
}

extension Throttle {
    func encode(into writer: inout ByteWriter) {
        writer.write(maximumIncoming)
        writer.write(maximumOutgoing)
        writer.write(bytesPerSecond)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            maximumIncoming: try reader.read(), maximumOutgoing: try reader.read(), bytesPerSecond: try reader.read())
    }
}

extension Placement {
    func encode(into writer: inout ByteWriter) { writer.write(array: members) { $0.write($1) } }

    init(from reader: inout ByteReader) throws(DecodingError) {
        let members = try reader.readArray(atMost: MapLimits.copies.upperBound) { reader throws(DecodingError) in
            try reader.read(NodeID.self)
        }
        guard let owner = members.first, Set(members).count == members.count else { throw .unknownTag(0) }
        self.init(owner: owner, replicas: Array(members.dropFirst()))
    }
}

extension ShardMap.Host {
    func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(weight)
        writer.write(zone)
        writer.write(UInt8(isDraining ? 1 : 0) | UInt8(isDown ? 2 : 0))
        writer.write(epoch)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        let id = try reader.read(NodeID.self)
        let weight = try reader.read(UInt32.self)
        let zone = try reader.readString(atMost: MapLimits.zoneBytes)
        let flags = try reader.read(UInt8.self)
        guard flags < 4 else { throw .unknownTag(UInt64(flags)) }
        self.init(
            id: id, weight: weight, zone: zone, isDraining: flags & 1 != 0, isDown: flags & 2 != 0,
            epoch: try reader.read())
    }
}

extension ShardMap.Step {
    init(from reader: inout ByteReader) throws(DecodingError) {
        let raw = try reader.read(UInt8.self)
        guard let step = Self(rawValue: raw) else { throw .unknownTag(UInt64(raw)) }
        self = step
    }
}

extension ShardMap.Move.Reason {
    init(from reader: inout ByteReader) throws(DecodingError) {
        let raw = try reader.read(UInt8.self)
        guard let reason = Self(rawValue: raw) else { throw .unknownTag(UInt64(raw)) }
        self = reason
    }
}

extension ShardMap.Move {
    func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(reason.rawValue)
        writer.write(estimatedBytes)
        writer.write(optional: from) { $1.encode(into: &$0) }
        to.encode(into: &writer)
        writer.write(array: finished) { $0.write($1) }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        id = try reader.read()
        reason = try Reason(from: &reader)
        estimatedBytes = try reader.read()
        from = try reader.readOptional { reader throws(DecodingError) in try Placement(from: &reader) }
        to = try Placement(from: &reader)
        finished = try reader.readArray(atMost: MapLimits.copies.upperBound) { reader throws(DecodingError) in
            try reader.read(NodeID.self)
        }
    }
}

extension ShardMap.Shard {
    func encode(into writer: inout ByteWriter) {
        placement.encode(into: &writer)
        writer.write(epoch)
        writer.write(step.rawValue)
        writer.write(optional: move) { $1.encode(into: &$0) }
        writer.write(since)
        writer.write(array: strays) { $0.write($1) }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        placement = try Placement(from: &reader)
        epoch = try reader.read()
        step = try ShardMap.Step(from: &reader)
        move = try reader.readOptional { reader throws(DecodingError) in try ShardMap.Move(from: &reader) }
        guard (move == nil) == (step == .stable) else { throw .unknownTag(UInt64(step.rawValue)) }
        since = try reader.read()
        strays = try reader.readArray(atMost: MapLimits.hosts) { reader throws(DecodingError) in
            try reader.read(NodeID.self)
        }
    }
}
