import EsperTypes

// Values that commands, answers and snapshots have in common.

extension KeyRange {
    func encode(into writer: inout ByteWriter) {
        writer.write(lower)
        switch end {
        case .single: writer.write(UInt8(0))
        case .unbounded: writer.write(UInt8(1))
        case .before(let upper):
            writer.write(UInt8(2))
            writer.write(upper)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        lower = try reader.readBytes(atMost: Limits.keyBytes)
        switch try reader.read(UInt8.self) {
        case 0: end = .single
        case 1: end = .unbounded
        case 2: end = .before(try reader.readBytes(atMost: Limits.keyBytes))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension KeyValue {
    func encode(into writer: inout ByteWriter) {
        writer.write(key)
        writer.write(value)
        writer.write(createRevision)
        writer.write(modRevision)
        writer.write(version)
        writer.write(storage.session)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            Storage(
                key: try reader.readBytes(atMost: Limits.keyBytes),
                value: try reader.readBytes(atMost: Limits.valueBytes), createRevision: try reader.read(),
                modRevision: try reader.read(), version: try reader.read(), session: try reader.read()))
    }
}

extension RangeRequest {
    func encode(into writer: inout ByteWriter) {
        range.encode(into: &writer)
        writer.write(revision)
        writer.write(Int64(limit))
        writer.write(UInt8((keysOnly ? 1 : 0) | (countOnly ? 2 : 0)))
        writer.write(sort.map { 1 + $0.key.rawValue * 2 + $0.order.rawValue } ?? 0)
        writer.write(minimumModRevision)
        writer.write(maximumModRevision)
        writer.write(minimumCreateRevision)
        writer.write(maximumCreateRevision)
        writer.write(Int64(maximumBytes))
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(try KeyRange(from: &reader))
        revision = try reader.read()
        limit = Int(try reader.read(Int64.self))
        let flags = try reader.read(UInt8.self)
        guard flags < 4 else { throw .unknownTag(UInt64(flags)) }
        keysOnly = flags & 1 != 0
        countOnly = flags & 2 != 0
        let sorting = try reader.read(UInt8.self)
        if sorting > 0 {
            guard let key = SortKey(rawValue: (sorting - 1) / 2), let order = SortOrder(rawValue: (sorting - 1) % 2)
            else { throw .unknownTag(UInt64(sorting)) }
            sort = Sort(by: key, order)
        }
        minimumModRevision = try reader.read()
        maximumModRevision = try reader.read()
        minimumCreateRevision = try reader.read()
        maximumCreateRevision = try reader.read()
        maximumBytes = Int(try reader.read(Int64.self))
    }
}

extension CoordinationSettings {
    func encode(into writer: inout ByteWriter) {
        writer.write(auditsCoordination)
        writer.write(array: auditedPrefixes) { $0.write($1) }
        writer.write(Int64(maximumOutboxRecords))
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init()
        auditsCoordination = try reader.readBool()
        auditedPrefixes = try reader.readArray(atMost: CoordinationLimits.auditedPrefixes) {
            reader throws(DecodingError) in try reader.readBytes(atMost: Limits.keyBytes)
        }
        maximumOutboxRecords = Int(try reader.read(Int64.self))
    }
}

extension OutboxNote {
    func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.write(subject)
        writer.write(array: fields) {
            $0.write($1.name)
            $0.write($1.value)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        let tag = try reader.read(UInt8.self)
        guard let kind = OutboxRecord.Kind(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        let subject = try reader.readString(atMost: Limits.entryPayloadBytes)
        let fields = try reader.readArray { reader throws(DecodingError) in
            OutboxRecord.Field(
                try reader.readString(atMost: Limits.entryPayloadBytes),
                try reader.readString(atMost: Limits.entryPayloadBytes))
        }
        self.init(kind: kind, subject: subject, fields: fields)
    }
}

extension OutboxRecord.ID {
    func encode(into writer: inout ByteWriter) {
        writer.write(index)
        writer.write(ordinal)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(index: try reader.read(), ordinal: try reader.read())
    }
}

extension Duration {
    /// Whole nanoseconds from untrusted bytes; any value is a duration.
    init(from reader: inout ByteReader) throws(DecodingError) {
        self = .nanoseconds(try reader.read(Int64.self))
    }
}
