import CacheCore
import EsperTypes

extension Refusal {
    func encode(into writer: inout ByteWriter) {
        switch self {
        case .malformed(let error):
            writer.write(UInt8(1))
            error.encode(into: &writer)
        case .invalid(let reason):
            writer.write(UInt8(2))
            let (tag, detail) = reason.parts
            writer.write(tag)
            writer.write(Int64(detail))
        case .compacted(let revision): writer.write(UInt8(3), revision.rawValue)
        case .futureRevision(let revision): writer.write(UInt8(4), revision.rawValue)
        case .keyNotFound: writer.write(UInt8(5))
        case .reservedKey: writer.write(UInt8(6))
        case .sessionNotFound(let session): writer.write(UInt8(7), session.rawValue)
        case .lockNotFound: writer.write(UInt8(8))
        case .lockHeld(let token): writer.write(UInt8(9), token.rawValue)
        case .candidateNotFound: writer.write(UInt8(10))
        case .notElected: writer.write(UInt8(11))
        case .staleTerm(let term): writer.write(UInt8(12), term.rawValue)
        case .clientUnknown(let client): writer.write(UInt8(13), client.rawValue)
        case .requestExpired(let through): writer.write(UInt8(14), through)
        case .outboxFull: writer.write(UInt8(15))
        case .replyTooLarge: writer.write(UInt8(16))
        case .membersFounded: writer.write(UInt8(17))
        case .memberNotFound(let id): writer.write(UInt8(18), id.rawValue)
        case .memberNameTaken(let id): writer.write(UInt8(19), id.rawValue)
        case .memberAddressTaken(let id): writer.write(UInt8(20), id.rawValue)
        case .tooManyMembers: writer.write(UInt8(21))
        case .joinTokenUnknown: writer.write(UInt8(22))
        case .joinTokenExpired: writer.write(UInt8(23))
        case .joinTokenRevoked: writer.write(UInt8(24))
        case .joinTokenUsedUp: writer.write(UInt8(25))
        case .joinTokenOfAnother: writer.write(UInt8(26))
        case .joinTokenExists: writer.write(UInt8(27))
        case .tooManyJoinTokens: writer.write(UInt8(28))
        case .sessionExists(let session): writer.write(UInt8(29), session.rawValue)
        case .permissionDenied: writer.write(UInt8(30))
        case .auth(let refusal):
            writer.write(UInt8(31))
            writer.write(refusal.rawValue)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .malformed(try DecodingError(from: &reader))
        case 2: self = .invalid(try InvalidCommand(tag: try reader.read(), detail: Int(try reader.read(Int64.self))))
        case 3: self = .compacted(at: try reader.read())
        case 4: self = .futureRevision(current: try reader.read())
        case 5: self = .keyNotFound
        case 6: self = .reservedKey
        case 7: self = .sessionNotFound(try reader.read())
        case 8: self = .lockNotFound
        case 9: self = .lockHeld(by: try reader.read())
        case 10: self = .candidateNotFound
        case 11: self = .notElected
        case 12: self = .staleTerm(try reader.read())
        case 13: self = .clientUnknown(try reader.read())
        case 14: self = .requestExpired(through: try reader.read())
        case 15: self = .outboxFull
        case 16: self = .replyTooLarge
        case 17: self = .membersFounded
        case 18: self = .memberNotFound(try reader.read())
        case 19: self = .memberNameTaken(by: try reader.read())
        case 20: self = .memberAddressTaken(by: try reader.read())
        case 21: self = .tooManyMembers
        case 22: self = .joinTokenUnknown
        case 23: self = .joinTokenExpired
        case 24: self = .joinTokenRevoked
        case 25: self = .joinTokenUsedUp
        case 26: self = .joinTokenOfAnother
        case 27: self = .joinTokenExists
        case 28: self = .tooManyJoinTokens
        case 29: self = .sessionExists(try reader.read())
        case 30: self = .permissionDenied
        case 31:
            let tag = try reader.read(UInt8.self)
            guard let refusal = AuthRefusal(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
            self = .auth(refusal)
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ tag: UInt8, _ value: UInt64) {
        write(tag)
        write(value)
    }
}

extension DecodingError {
    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .truncated: writer.write(UInt8(1), 0)
        case .oversized(let count): writer.write(UInt8(2), UInt64(bitPattern: Int64(count)))
        case .unknownTag(let tag): writer.write(UInt8(3), tag)
        case .notUTF8: writer.write(UInt8(4), 0)
        case .trailingBytes(let count): writer.write(UInt8(5), UInt64(bitPattern: Int64(count)))
        case .unreachable(let value): writer.write(UInt8(6), value)
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        let (tag, detail) = (try reader.read(UInt8.self), try reader.read(UInt64.self))
        switch tag {
        case 1: self = .truncated
        case 2: self = .oversized(Int(Int64(bitPattern: detail)))
        case 3: self = .unknownTag(detail)
        case 4: self = .notUTF8
        case 5: self = .trailingBytes(Int(Int64(bitPattern: detail)))
        case 6: self = .unreachable(detail)
        default: throw .unknownTag(UInt64(tag))
        }
    }
}

extension InvalidCommand {
    fileprivate var parts: (tag: UInt8, detail: Int) {
        switch self {
        case .emptyKey: (1, 0)
        case .keyTooLong(let count): (2, count)
        case .valueTooLong(let count): (3, count)
        case .emptyRange: (4, 0)
        case .tooManyOperations(let count): (5, count)
        case .tooDeeplyNested: (6, 0)
        case .duplicateKey: (7, 0)
        case .ttlOutOfRange: (8, 0)
        case .nameLength(let count): (9, count)
        case .tooManySessions(let count): (10, count)
        case .tooManyPrefixes(let count): (11, count)
        case .requestSequence: (12, 0)
        case .negativeLimit: (13, 0)
        case .settingOutOfRange: (14, 0)
        case .noteTooLarge: (15, 0)
        case .notReadOnly: (17, 0)
        case .labelTooLong(let count): (18, count)
        case .memberName: (19, 0)
        case .memberAddress: (20, 0)
        case .memberZone: (21, 0)
        case .memberCount(let count): (22, count)
        case .joinTokenTerms: (23, 0)
        case .digestLength(let count): (24, count)
        case .sessionID: (25, 0)
        case .passwordHashTooLong(let count): (26, count)
        case .cache(let error): (27, Int(error.rawValue))
        }
    }

    fileprivate init(tag: UInt8, detail: Int) throws(DecodingError) {
        switch tag {
        case 1: self = .emptyKey
        case 2: self = .keyTooLong(detail)
        case 3: self = .valueTooLong(detail)
        case 4: self = .emptyRange
        case 5: self = .tooManyOperations(detail)
        case 6: self = .tooDeeplyNested
        case 7: self = .duplicateKey
        case 8: self = .ttlOutOfRange
        case 9: self = .nameLength(detail)
        case 10: self = .tooManySessions(detail)
        case 11: self = .tooManyPrefixes(detail)
        case 12: self = .requestSequence
        case 13: self = .negativeLimit
        case 14: self = .settingOutOfRange
        case 15: self = .noteTooLarge
        case 17: self = .notReadOnly
        case 18: self = .labelTooLong(detail)
        case 19: self = .memberName
        case 20: self = .memberAddress
        case 21: self = .memberZone
        case 22: self = .memberCount(detail)
        case 23: self = .joinTokenTerms
        case 24: self = .digestLength(detail)
        case 25: self = .sessionID
        case 26: self = .passwordHashTooLong(detail)
        case 27:
            guard let error = UInt8(exactly: detail).flatMap(CacheCommandError.init) else {
                throw .unknownTag(UInt64(truncatingIfNeeded: detail))
            }
            self = .cache(error)
        default: throw .unknownTag(UInt64(tag))
        }
    }
}
