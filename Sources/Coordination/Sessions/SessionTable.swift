package import EsperTypes

/// The sessions that are open, by ID. Their keys are in the keyspace, their deadlines in the leader's ``SessionClock``.
package struct SessionTable: Sendable {
    package struct Record: Sendable {
        package var ttl: Duration
        package var principal: String
        package var label: String
        package var grantedAt: UInt64
    }

    package var records = Tree<UInt64, Record>()

    package init() {}

    package var count: Int { records.count }

    package func contains(_ session: SessionID) -> Bool { records.value(for: session.rawValue) != nil }
}
