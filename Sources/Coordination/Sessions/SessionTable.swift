package import EsperTypes

/// The sessions that are open, by ID. Their keys are in the keyspace, their deadlines in the leader's ``SessionClock``.
package struct SessionTable: Sendable {
    package struct Record: Sendable {
        package var ttl: Duration
        package var principal: String
        package var label: String
        package var grantedAt: UInt64
        /// The entry by which it began.
        package var grantedBy: LogIndex
    }

    package var records = Tree<UInt64, Record>()

    package init() {}

    package var count: Int { records.count }

    /// What a session that began by this entry and chose no ID is called: the index, unless one that chose has that. Then the
    /// first free one of a sequence that comes by every ID.
    package func free(for index: LogIndex) -> SessionID {
        let most = UInt64(Int64.max)
        var candidate = index.rawValue & most
        while candidate == 0 || contains(SessionID(candidate)) { candidate = (candidate &+ 1 << 48 &+ 1) & most }
        return SessionID(candidate)
    }

    package func contains(_ session: SessionID) -> Bool { records.value(for: session.rawValue) != nil }
}
