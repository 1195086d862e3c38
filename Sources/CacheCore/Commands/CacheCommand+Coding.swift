public import EsperTypes

// Format 1: a tag, then the fields. A change of meaning is a new tag.

extension CacheCommand {
    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .change(let changes):
            writer.write(UInt8(1))
            writer.write(array: changes) { $1.encode(into: &$0) }
        case .expire(let expired):
            writer.write(UInt8(2))
            writer.write(array: expired) {
                $0.write($1.name)
                $0.write($1.version)
            }
        case .noteTiers(let notes):
            writer.write(UInt8(3))
            writer.write(array: notes) {
                $0.write($1.name)
                $0.write($1.version)
                $0.write($1.tiers.rawValue)
            }
        case .forgetTombstones(let through):
            writer.write(UInt8(4))
            writer.write(through)
        case .map(let command):
            writer.write(UInt8(5))
            command.encode(into: &writer)
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        let most = CacheLimits.changesPerCommand
        switch try reader.read(UInt8.self) {
        case 1:
            self = .change(
                try reader.readArray(atMost: most) { reader throws(DecodingError) in try CacheChange(from: &reader) })
        case 2:
            self = .expire(
                try reader.readArray(atMost: most) { reader throws(DecodingError) in
                    CacheNameVersion(try Self.readName(&reader), try reader.read())
                })
        case 3:
            self = .noteTiers(
                try reader.readArray(atMost: most) { reader throws(DecodingError) in
                    CacheTierNote(try Self.readName(&reader), try reader.read(), try TierSet(from: &reader))
                })
        case 4: self = .forgetTombstones(through: try reader.read())
        case 5: self = .map(try MapCommand(from: &reader))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }

    fileprivate static func readName(_ reader: inout ByteReader) throws(DecodingError) -> [UInt8] {
        try reader.readBytes(atMost: CacheLimits.nameBytes)
    }
}

extension CacheChange {
    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .bind(let bind):
            writer.write(UInt8(1))
            bind.encode(into: &writer)
        case .evict(let name, let version):
            writer.write(UInt8(2))
            writer.write(name)
            writer.write(optional: version) { $0.write($1) }
        case .quarantine(let name, let version):
            writer.write(UInt8(3))
            writer.write(name)
            writer.write(version)
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .bind(try CacheBind(from: &reader))
        case 2:
            self = .evict(
                try CacheCommand.readName(&reader),
                version: try reader.readOptional { reader throws(DecodingError) in try reader.read(LogIndex.self) })
        case 3: self = .quarantine(try CacheCommand.readName(&reader), version: try reader.read())
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension CacheBind {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(name)
        writer.write(kind.rawValue)
        writer.write(manifest)
        writer.write(size)
        writer.write(costMilliseconds)
        writer.write(mode.rawValue)
        writer.write(tiers.rawValue)
        writer.write(optional: lineage) { $0.write($1) }
        switch expiry {
        case .never: writer.write(UInt8(0))
        case .after(let lifetime):
            writer.write(UInt8(1))
            writer.write(lifetime.nanoseconds)
        case .at(let time):
            writer.write(UInt8(2))
            writer.write(time)
        }
        switch condition {
        case .byKind: writer.write(UInt8(0))
        case .version(nil): writer.write(UInt8(1))
        case .version(let version?):
            writer.write(UInt8(2))
            writer.write(version)
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        name = try CacheCommand.readName(&reader)
        kind = try Binding.Kind(from: &reader)
        manifest = try reader.readDigest()
        size = try reader.read()
        costMilliseconds = try reader.read()
        let modeTag = try reader.read(UInt8.self)
        guard let mode = StoreMode(rawValue: modeTag) else { throw .unknownTag(UInt64(modeTag)) }
        self.mode = mode
        tiers = try TierSet(from: &reader)
        lineage = try reader.readOptional { reader throws(DecodingError) in try reader.readDigest() }
        switch try reader.read(UInt8.self) {
        case 0: expiry = .never
        case 1: expiry = .after(.nanoseconds(try reader.read(Int64.self)))
        case 2: expiry = .at(try reader.read())
        case let tag: throw .unknownTag(UInt64(tag))
        }
        switch try reader.read(UInt8.self) {
        case 0: condition = .byKind
        case 1: condition = .version(nil)
        case 2: condition = .version(try reader.read(LogIndex.self))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension CacheResult {
    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .changed(let results):
            writer.write(UInt8(1))
            writer.write(array: results) { $1.encode(into: &$0) }
        case .expired(let count):
            writer.write(UInt8(2))
            writer.write(Int64(count))
        case .tiersNoted(let count):
            writer.write(UInt8(3))
            writer.write(Int64(count))
        case .tombstonesForgotten(let count, let more):
            writer.write(UInt8(4))
            writer.write(Int64(count))
            writer.write(more)
        case .map(let reply):
            writer.write(UInt8(5))
            reply.encode(into: &writer)
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1:
            self = .changed(
                try reader.readArray(atMost: CacheLimits.changesPerCommand) { reader throws(DecodingError) in
                    try CacheChangeResult(from: &reader)
                })
        case 2: self = .expired(count: Int(try reader.read(Int64.self)))
        case 3: self = .tiersNoted(count: Int(try reader.read(Int64.self)))
        case 4: self = .tombstonesForgotten(count: Int(try reader.read(Int64.self)), more: try reader.readBool())
        case 5: self = .map(try MapReply(from: &reader))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension CacheChangeResult {
    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .bound(let binding): writer.write(1, binding)
        case .kept(let binding): writer.write(2, binding)
        case .conflict(nil): writer.write(UInt8(3))
        case .conflict(let binding?): writer.write(4, binding)
        case .evicted(nil): writer.write(UInt8(5))
        case .evicted(let binding?): writer.write(6, binding)
        case .quarantined(let binding): writer.write(7, binding)
        case .full: writer.write(UInt8(8))
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .bound(try Binding(from: &reader))
        case 2: self = .kept(try Binding(from: &reader))
        case 3: self = .conflict(nil)
        case 4: self = .conflict(try Binding(from: &reader))
        case 5: self = .evicted(nil)
        case 6: self = .evicted(try Binding(from: &reader))
        case 7: self = .quarantined(try Binding(from: &reader))
        case 8: self = .full
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ tag: UInt8, _ binding: Binding) {
        write(tag)
        binding.encode(into: &self)
    }
}
