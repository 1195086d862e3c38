public import PostgreSQL

/// Why the catalog cannot be used, in words for an operator.
public enum CatalogError: Error, Sendable, Hashable, CustomStringConvertible {
    /// A later version of this program has been here.
    case newerSchema(found: Int, known: Int)
    /// A migration that was applied is not the one this program has under that number.
    case changedMigration(Int)
    /// The database holds another cluster's catalog.
    case otherCluster(String)
    /// A leader of a later term writes now.
    case deposed
    case database(PostgreSQLError)

    public var description: String {
        switch self {
        case .newerSchema(let found, let known):
            "the catalog has schema version \(found) and this program knows \(known): run a newer version"
        case .changedMigration(let number):
            "migration \(number) of the catalog is not the one this program applies: another program made this schema"
        case .otherCluster(let cluster):
            "the catalog belongs to cluster \(cluster): use a database of its own for each cluster"
        case .deposed: "a leader of a later term writes the catalog now"
        case .database(let error): error.description
        }
    }

    /// SQLSTATEs of our own, raised by the schema's functions; class `ES` is no one else's.
    enum State {
        static let deposed = "ES001"
        static let otherCluster = "ES002"
        static let migratedMeanwhile = "ES003"
    }

    init(_ error: PostgreSQLError) {
        switch error.sqlState {
        case State.deposed: self = .deposed
        case State.otherCluster: self = .otherCluster(error.detail ?? "unknown")
        default: self = .database(error)
        }
    }
}
