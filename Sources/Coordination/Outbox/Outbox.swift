package import EsperTypes

/// The audit records that the catalog has not taken yet, in order.
package struct Outbox: Sendable {
    /// Records without their ID, encoded: one allocation each.
    package var records = Tree<OutboxRecord.ID, [UInt8]>()
    package var acknowledged = OutboxRecord.ID.zero

    package init() {}

    package var count: Int { records.count }

    /// All records of this entry and those before it have been taken.
    package func settled(at applied: LogIndex) -> LogIndex { records.first?.key.index.previous ?? applied }

    package mutating func append(_ record: OutboxRecord) { records.set(record.id, record.encodedBody()) }

    /// Forgets records up to and with `through`. Positions that do not exist yet are not acknowledged in advance.
    package mutating func acknowledge(through: OutboxRecord.ID) {
        while let (id, _) = records.first, id <= through {
            records.remove(id)
            acknowledged = id
        }
    }

    package func records(after position: OutboxRecord.ID, limit: Int) -> [OutboxRecord] {
        var found: [OutboxRecord] = []
        for (id, body) in records.cursor(from: position) where id > position {
            if found.count >= limit { break }
            found.append(OutboxRecord(id: id, body: body))
        }
        return found
    }
}

extension OutboxRecord.ID: TreeKey {
    package func order(against other: Self, skipping skipped: Int) -> Int {
        self < other ? -1 : self == other ? 0 : 1
    }

    package func prefixOrder(against other: Self, length: Int) -> Int { 0 }
    package func sharedPrefix(with other: Self) -> Int { 0 }
    package func head(skipping skipped: Int) -> UInt64 { index.rawValue }
}

extension OutboxRecord {
    func encodedBody() -> [UInt8] {
        var writer = ByteWriter(capacity: 96 + 32 * fields.count)
        writer.write(term)
        writer.write(time)
        writer.write(revision)
        writer.write(actor)
        OutboxNote(kind: kind, subject: subject, fields: fields).encode(into: &writer)
        return writer.bytes
    }

    init(id: ID, from reader: inout ByteReader) throws(DecodingError) {
        let (term, time) = (try reader.read(Term.self), try reader.read(UInt64.self))
        let revision = try reader.read(Revision.self)
        let actor = try reader.readString(atMost: Limits.entryPayloadBytes)
        let note = try OutboxNote(from: &reader)
        self.init(
            id: id, term: term, time: time, kind: note.kind, actor: actor, subject: note.subject, revision: revision,
            fields: note.fields)
    }

    /// Reads a body that this process encoded or checked when it was restored.
    fileprivate init(id: ID, body: [UInt8]) {
        var reader = ByteReader(body)
        do {
            try self.init(id: id, from: &reader)
        } catch {
            preconditionFailure("outbox record \(id) cannot be read: \(error)")
        }
    }
}
