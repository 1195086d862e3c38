import CacheCore
import EsperTypes

// Command format 1: a tag, then the fields. A change of meaning is a new tag or a new envelope version.

extension Command {
    func encode(into writer: inout ByteWriter) {
        writer.write(tag)
        switch self {
        case .put(let put): put.encode(into: &writer)
        case .delete(let delete): delete.encode(into: &writer)
        case .transaction(let transaction): transaction.encode(into: &writer)
        case .compact(let through): writer.write(through)
        case .grantSession(let id, let ttl, let label):
            if let id { writer.write(id) }
            writer.write(ttl.nanoseconds)
            if id != nil || !label.isEmpty { writer.write(label) }
        case .revokeSession(let session): writer.write(session)
        case .expireSessions(let sessions, let term, let knownThrough):
            if let knownThrough { writer.write(knownThrough) }
            writer.write(term)
            writer.write(array: sessions) { $0.write($1) }
        case .acquireLock(let request):
            writer.write(request.name)
            writer.write(request.session)
            writer.write(request.waits)
        case .releaseLock(let name, let session), .cancelLockWait(let name, let session),
            .resign(let name, let session), .cancelCandidacy(let name, let session):
            writer.write(name)
            writer.write(session)
        case .campaign(let name, let session, let value), .proclaim(let name, let session, let value):
            writer.write(name)
            writer.write(session)
            writer.write(value)
        case .registerClient: break
        case .acknowledgeOutbox(let through): through.encode(into: &writer)
        case .configure(let settings): settings.encode(into: &writer)
        case .record(let notes, let term):
            writer.write(optional: term) { $0.write($1) }
            writer.write(array: notes) { $1.encode(into: &$0) }
        case .foundMembers(let records): writer.write(array: records) { $1.encode(into: &$0) }
        case .admitMember(let new): new.encode(into: &writer)
        case .noteMember(let id, let isEnrolled, let incarnation):
            writer.write(id)
            writer.write(isEnrolled)
            writer.write(optional: incarnation) { $0.write($1) }
        case .forgetMember(let id): writer.write(id)
        case .createJoinToken(let new): new.encode(into: &writer)
        case .revokeJoinToken(let id): writer.write(id)
        case .redeemJoinToken(let redemption): redemption.encode(into: &writer)
        case .auth(let command): command.encode(into: &writer)
        case .cache(let command): command.encode(into: &writer)
        }
    }

    private var tag: UInt8 {
        switch self {
        case .put: 1
        case .delete: 2
        case .transaction: 3
        case .compact: 4
        case .grantSession(nil, _, let label): label.isEmpty ? 5 : 20
        case .grantSession: 28
        case .revokeSession: 6
        case .expireSessions(_, _, let knownThrough): knownThrough == nil ? 7 : 29
        case .acquireLock: 8
        case .releaseLock: 9
        case .cancelLockWait: 10
        case .campaign: 11
        case .proclaim: 12
        case .resign: 13
        case .registerClient: 14
        case .acknowledgeOutbox: 16
        case .configure: 17
        case .record: 18
        case .cancelCandidacy: 19
        case .foundMembers: 21
        case .admitMember: 22
        case .noteMember: 23
        case .forgetMember: 24
        case .createJoinToken: 25
        case .revokeJoinToken: 26
        case .redeemJoinToken: 27
        case .auth: 30
        case .cache: 31
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .put(try Put(from: &reader))
        case 2: self = .delete(try Delete(from: &reader))
        case 3: self = .transaction(try Transaction(from: &reader, depth: 1))
        case 4: self = .compact(through: try reader.read())
        case 5: self = .grantSession(ttl: try Duration(from: &reader))
        case 6: self = .revokeSession(try reader.read())
        case 7: self = try Self.readExpiry(&reader, knownThrough: nil)
        case 8:
            self = .acquireLock(
                LockRequest(
                    name: try Self.readName(&reader), session: try reader.read(), waits: try reader.readBool()))
        case 9: self = .releaseLock(name: try Self.readName(&reader), session: try reader.read())
        case 10: self = .cancelLockWait(name: try Self.readName(&reader), session: try reader.read())
        case 11:
            self = .campaign(
                election: try Self.readName(&reader), session: try reader.read(),
                value: try reader.readBytes(atMost: Limits.valueBytes))
        case 12:
            self = .proclaim(
                election: try Self.readName(&reader), session: try reader.read(),
                value: try reader.readBytes(atMost: Limits.valueBytes))
        case 13: self = .resign(election: try Self.readName(&reader), session: try reader.read())
        case 14: self = .registerClient
        case 16: self = .acknowledgeOutbox(through: try OutboxRecord.ID(from: &reader))
        case 17: self = .configure(try CoordinationSettings(from: &reader))
        case 18:
            let term = try reader.readOptional { reader throws(DecodingError) in try reader.read(Term.self) }
            self = .record(
                try reader.readArray { reader throws(DecodingError) in try OutboxNote(from: &reader) }, term: term)
        case 19: self = .cancelCandidacy(election: try Self.readName(&reader), session: try reader.read())
        case 20:
            let ttl = try Duration(from: &reader)
            let label = try reader.readString(atMost: CoordinationLimits.labelBytes)
            // Written with the shorter tag.
            guard !label.isEmpty else { throw .unknownTag(20) }
            self = .grantSession(ttl: ttl, label: label)
        case 21:
            self = .foundMembers(
                try reader.readArray(atMost: CoordinationLimits.members) { reader throws(DecodingError) in
                    try MemberRecord(from: &reader)
                })
        case 22: self = .admitMember(try NewMember(from: &reader))
        case 23:
            self = .noteMember(
                try reader.read(), isEnrolled: try reader.readBool(),
                incarnation: try reader.readOptional { reader throws(DecodingError) in
                    try reader.read(Incarnation.self)
                })
        case 24: self = .forgetMember(try reader.read())
        case 25: self = .createJoinToken(try NewJoinToken(from: &reader))
        case 26: self = .revokeJoinToken(try reader.read())
        case 27: self = .redeemJoinToken(try JoinTokenRedemption(from: &reader))
        case 28:
            let id = try reader.read(SessionID.self)
            let ttl = try Duration(from: &reader)
            self = .grantSession(id: id, ttl: ttl, label: try reader.readString(atMost: CoordinationLimits.labelBytes))
        case 29:
            let knownThrough = try reader.read(LogIndex.self)
            self = try Self.readExpiry(&reader, knownThrough: knownThrough)
        case 30: self = .auth(try AuthCommand(from: &reader))
        case 31: self = .cache(try CacheCommand(from: &reader))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }

    private static func readExpiry(
        _ reader: inout ByteReader, knownThrough: LogIndex?
    ) throws(DecodingError) -> Command {
        let term = try reader.read(Term.self)
        let sessions = try reader.readArray(atMost: CoordinationLimits.sessionsPerExpiry) {
            reader throws(DecodingError) in try reader.read(SessionID.self)
        }
        return .expireSessions(sessions, term: term, knownThrough: knownThrough)
    }

    private static func readName(_ reader: inout ByteReader) throws(DecodingError) -> String {
        try reader.readString(atMost: CoordinationLimits.nameBytes)
    }
}

extension Command.Put {
    func encode(into writer: inout ByteWriter) {
        writer.write(UInt8((returnsPrevious ? 1 : 0) | (keepsValue ? 2 : 0) | (keepsSession ? 4 : 0)))
        writer.write(session ?? KeyValue.noSession)
        writer.write(key)
        writer.write(value)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        let flags = try reader.read(UInt8.self)
        guard flags < 8 else { throw .unknownTag(UInt64(flags)) }
        let session = try reader.read(SessionID.self)
        self.init(
            key: try reader.readBytes(atMost: Limits.keyBytes), value: try reader.readBytes(atMost: Limits.valueBytes),
            session: session == KeyValue.noSession ? nil : session, returnsPrevious: flags & 1 != 0,
            keepsValue: flags & 2 != 0, keepsSession: flags & 4 != 0)
    }
}

extension Command.Delete {
    func encode(into writer: inout ByteWriter) {
        range.encode(into: &writer)
        writer.write(returnsPrevious)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(try KeyRange(from: &reader), returnsPrevious: try reader.readBool())
    }
}

extension Transaction {
    func encode(into writer: inout ByteWriter) {
        writer.write(array: compares) { $1.encode(into: &$0) }
        writer.write(array: success) { $1.encode(into: &$0) }
        writer.write(array: failure) { $1.encode(into: &$0) }
    }

    /// - Parameter depth: how many transactions there are around this one, itself included.
    init(from reader: inout ByteReader, depth: Int) throws(DecodingError) {
        guard depth <= CoordinationLimits.transactionDepth else { throw .oversized(depth) }
        compares = try reader.readArray(atMost: Limits.transactionOperations) { reader throws(DecodingError) in
            try Compare(from: &reader)
        }
        success = try reader.readArray(atMost: Limits.transactionOperations) { reader throws(DecodingError) in
            try Operation(from: &reader, depth: depth)
        }
        failure = try reader.readArray(atMost: Limits.transactionOperations) { reader throws(DecodingError) in
            try Operation(from: &reader, depth: depth)
        }
    }
}

extension Transaction.Operation {
    func encode(into writer: inout ByteWriter) {
        switch self {
        case .put(let put):
            writer.write(UInt8(1))
            put.encode(into: &writer)
        case .delete(let delete):
            writer.write(UInt8(2))
            delete.encode(into: &writer)
        case .range(let request):
            writer.write(UInt8(3))
            request.encode(into: &writer)
        case .transaction(let inner):
            writer.write(UInt8(4))
            inner.encode(into: &writer)
        }
    }

    init(from reader: inout ByteReader, depth: Int) throws(DecodingError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .put(try Command.Put(from: &reader))
        case 2: self = .delete(try Command.Delete(from: &reader))
        case 3: self = .range(try RangeRequest(from: &reader))
        case 4: self = .transaction(try Transaction(from: &reader, depth: depth + 1))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension Compare {
    func encode(into writer: inout ByteWriter) {
        range.encode(into: &writer)
        writer.write(relation.rawValue)
        switch target {
        case .value(let value):
            writer.write(UInt8(1))
            writer.write(value)
        case .version(let version):
            writer.write(UInt8(2))
            writer.write(version)
        case .createRevision(let revision):
            writer.write(UInt8(3))
            writer.write(revision)
        case .modRevision(let revision):
            writer.write(UInt8(4))
            writer.write(revision)
        case .session(let session):
            writer.write(UInt8(5))
            writer.write(session ?? KeyValue.noSession)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        range = try KeyRange(from: &reader)
        let tag = try reader.read(UInt8.self)
        guard let relation = Relation(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        self.relation = relation
        switch try reader.read(UInt8.self) {
        case 1: target = .value(try reader.readBytes(atMost: Limits.valueBytes))
        case 2: target = .version(try reader.read())
        case 3: target = .createRevision(try reader.read())
        case 4: target = .modRevision(try reader.read())
        case 5:
            let session = try reader.read(SessionID.self)
            target = .session(session == KeyValue.noSession ? nil : session)
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}
