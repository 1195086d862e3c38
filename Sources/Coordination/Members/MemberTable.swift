public import EsperTypes

/// The cluster's address book, replicated: every node that is a member or was admitted to become one.
///
/// IDs only rise and are never given twice, so that a node that lost its disk cannot pass for the one it was.
public struct MemberTable: Hashable, Sendable {
    /// In order of ID.
    public private(set) var records: [MemberRecord] = []
    /// Above every ID that was ever a member's.
    public private(set) var nextID = NodeID(1)
    /// The entry that changed the table last; of two copies the one with the higher is the newer.
    public private(set) var version = LogIndex.zero

    public init() {}

    /// Before the cluster's founders are known; they never all leave.
    public var isEmpty: Bool { records.isEmpty }

    public func record(_ id: NodeID) -> MemberRecord? { records.first { $0.id == id } }

    public func record(named name: String) -> MemberRecord? { records.first { $0.name == name } }

    /// Whether this was a member's ID and is no longer.
    public func hasForgotten(_ id: NodeID) -> Bool { !isEmpty && id < nextID && record(id) == nil }

    /// What makes a new member impossible, if anything does.
    func conflict(with new: NewMember) -> Refusal? {
        for record in records {
            if record.name == new.name { return .memberNameTaken(by: record.id) }
            if record.peer == new.peer || record.api == new.api { return .memberAddressTaken(by: record.id) }
        }
        return records.count < CoordinationLimits.members && nextID.rawValue < .max ? nil : .tooManyMembers
    }

    mutating func found(_ founders: [MemberRecord], at index: LogIndex) {
        records = founders.sorted { $0.id < $1.id }
        for position in records.indices { records[position].isEnrolled = true }
        nextID = records.last.map { NodeID($0.id.rawValue + 1) } ?? nextID
        version = index
    }

    mutating func admit(_ new: NewMember, at index: LogIndex) -> MemberRecord {
        let record = MemberRecord(id: nextID, name: new.name, peer: new.peer, api: new.api, zone: new.zone)
        records.append(record)
        nextID = NodeID(nextID.rawValue + 1)
        version = index
        return record
    }

    /// Sets what is only ever set once.
    ///
    /// - Returns: whether anything changed; nil when there is no such member.
    mutating func note(
        _ id: NodeID, isEnrolled: Bool, incarnation: Incarnation?, at index: LogIndex
    ) -> Bool? {
        guard let position = records.firstIndex(where: { $0.id == id }) else { return nil }
        var record = records[position]
        record.isEnrolled = record.isEnrolled || isEnrolled
        record.incarnation = record.incarnation ?? incarnation
        guard record != records[position] else { return false }
        records[position] = record
        version = index
        return true
    }

    mutating func forget(_ id: NodeID, at index: LogIndex) -> MemberRecord? {
        guard let position = records.firstIndex(where: { $0.id == id }) else { return nil }
        version = index
        return records.remove(at: position)
    }
}

extension MemberTable {
    /// For keeping outside of the replicated state.
    public func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try self.init(from: &reader)
        try reader.finish()
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(nextID)
        writer.write(version)
        writer.write(array: records) { $1.encode(into: &$0) }
    }

    package init(from reader: inout ByteReader) throws(DecodingError) {
        nextID = try reader.read()
        version = try reader.read()
        records = try reader.readArray(atMost: CoordinationLimits.members) { reader throws(DecodingError) in
            try MemberRecord(from: &reader)
        }
        let ids = records.map(\.id)
        guard zip(ids, ids.dropFirst()).allSatisfy(<), ids.allSatisfy({ $0 < nextID }) else {
            throw .unknownTag(nextID.rawValue)
        }
    }
}
