import CacheCore
import EsperTypes

// Answers are kept in snapshots, for requests that are proposed again afterwards.

extension CommandReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(index)
        writer.write(revision)
        result.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(index: try reader.read(), revision: try reader.read(), result: try CommandResult(from: &reader))
    }
}

extension CommandResult {
    func encode(into writer: inout ByteWriter) {
        switch self {
        case .refused(let refusal):
            writer.write(UInt8(1))
            refusal.encode(into: &writer)
        case .put(let reply):
            writer.write(UInt8(2))
            reply.encode(into: &writer)
        case .deleted(let reply):
            writer.write(UInt8(3))
            reply.encode(into: &writer)
        case .transaction(let reply):
            writer.write(UInt8(4))
            reply.encode(into: &writer)
        case .compacted(let through):
            writer.write(UInt8(5))
            writer.write(through)
        case .sessionGranted(let session, let ttl):
            writer.write(UInt8(6))
            writer.write(session)
            writer.write(ttl.nanoseconds)
        case .sessionEnded(let session, let keys):
            writer.write(UInt8(7))
            writer.write(session)
            writer.write(Int64(keys))
        case .sessionsExpired(let count):
            writer.write(UInt8(8))
            writer.write(Int64(count))
        case .lock(let reply):
            writer.write(UInt8(9))
            writer.write(reply.token)
            writer.write(reply.isHeld)
            writer.write(reply.holder)
        case .lockReleased(let wasHeld):
            writer.write(UInt8(10))
            writer.write(wasHeld)
        case .election(let reply):
            writer.write(UInt8(11))
            writer.write(reply.token)
            writer.write(reply.isElected)
            writer.write(reply.leader)
        case .proclaimed: writer.write(UInt8(12))
        case .resigned(let wasElected):
            writer.write(UInt8(13))
            writer.write(wasElected)
        case .clientRegistered(let client):
            writer.write(UInt8(14))
            writer.write(client)
        case .outboxAcknowledged(let through):
            writer.write(UInt8(16))
            through.encode(into: &writer)
        case .configured: writer.write(UInt8(17))
        case .recorded: writer.write(UInt8(18))
        case .memberAdmitted(let id):
            writer.write(UInt8(19))
            writer.write(id)
        case .joinTokenCreated(let expires):
            writer.write(UInt8(20))
            writer.write(expires)
        case .joinTokenRevoked: writer.write(UInt8(21))
        case .joinTokenRedeemed(let id):
            writer.write(UInt8(22))
            writer.write(id)
        case .authChanged(let revision):
            writer.write(UInt8(23))
            writer.write(revision)
        case .cache(let result):
            writer.write(UInt8(24))
            result.encode(into: &writer)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .refused(try Refusal(from: &reader))
        case 2: self = .put(try PutReply(from: &reader))
        case 3: self = .deleted(try DeleteReply(from: &reader))
        case 4: self = .transaction(try TransactionReply(from: &reader, depth: 1))
        case 5: self = .compacted(through: try reader.read())
        case 6: self = .sessionGranted(try reader.read(), ttl: try Duration(from: &reader))
        case 7: self = .sessionEnded(try reader.read(), keys: Int(try reader.read(Int64.self)))
        case 8: self = .sessionsExpired(count: Int(try reader.read(Int64.self)))
        case 9:
            self = .lock(
                LockReply(token: try reader.read(), isHeld: try reader.readBool(), holder: try reader.read()))
        case 10: self = .lockReleased(wasHeld: try reader.readBool())
        case 11:
            self = .election(
                ElectionReply(token: try reader.read(), isElected: try reader.readBool(), leader: try reader.read()))
        case 12: self = .proclaimed
        case 13: self = .resigned(wasElected: try reader.readBool())
        case 14: self = .clientRegistered(try reader.read())
        case 16: self = .outboxAcknowledged(through: try OutboxRecord.ID(from: &reader))
        case 17: self = .configured
        case 18: self = .recorded
        case 19: self = .memberAdmitted(try reader.read())
        case 20: self = .joinTokenCreated(expires: try reader.read())
        case 21: self = .joinTokenRevoked
        case 22: self = .joinTokenRedeemed(try reader.read())
        case 23: self = .authChanged(revision: try reader.read())
        case 24: self = .cache(try CacheResult(from: &reader))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension PutReply {
    func encode(into writer: inout ByteWriter) { writer.write(optional: previous) { $1.encode(into: &$0) } }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            previous: try reader.readOptional { reader throws(DecodingError) in try KeyValue(from: &reader) })
    }
}

extension DeleteReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(Int64(count))
        writer.write(array: previous) { $1.encode(into: &$0) }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            count: Int(try reader.read(Int64.self)),
            previous: try reader.readArray { reader throws(DecodingError) in try KeyValue(from: &reader) })
    }
}

extension RangeReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(array: keyValues) { $1.encode(into: &$0) }
        writer.write(more)
        writer.write(Int64(count))
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            keyValues: try reader.readArray { reader throws(DecodingError) in try KeyValue(from: &reader) },
            more: try reader.readBool(), count: Int(try reader.read(Int64.self)))
    }
}

extension TransactionReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(succeeded)
        writer.write(array: replies) { writer, reply in
            switch reply {
            case .put(let reply):
                writer.write(UInt8(1))
                reply.encode(into: &writer)
            case .delete(let reply):
                writer.write(UInt8(2))
                reply.encode(into: &writer)
            case .range(let reply):
                writer.write(UInt8(3))
                reply.encode(into: &writer)
            case .transaction(let reply):
                writer.write(UInt8(4))
                reply.encode(into: &writer)
            }
        }
    }

    init(from reader: inout ByteReader, depth: Int) throws(DecodingError) {
        guard depth <= CoordinationLimits.transactionDepth else { throw .oversized(depth) }
        self.init(
            succeeded: try reader.readBool(),
            replies: try reader.readArray(atMost: Limits.transactionOperations) { reader throws(DecodingError) in
                switch try reader.read(UInt8.self) {
                case 1: return .put(try PutReply(from: &reader))
                case 2: return .delete(try DeleteReply(from: &reader))
                case 3: return .range(try RangeReply(from: &reader))
                case 4: return .transaction(try TransactionReply(from: &reader, depth: depth + 1))
                case let tag: throw .unknownTag(UInt64(tag))
                }
            })
    }
}
