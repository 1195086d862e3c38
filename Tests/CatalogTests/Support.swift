import Catalog
import Coordination
import EsperTypes
import Logging
import PostgreSQL
import Synchronization
import TestSupport

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let cluster = ClusterID(0xe59e)

/// An outbox in memory, with the promises of the replicated one.
final class MemoryOutbox: OutboxSource {
    private struct State {
        var records: [OutboxRecord] = []
        var acknowledged = OutboxRecord.ID.zero
        var appended = 0
        var acknowledgements = 0
    }

    struct Unavailable: Error {}

    private let state = Mutex(State())

    func append(_ records: [OutboxRecord]) {
        state.withLock {
            $0.records += records
            $0.appended += records.count
        }
    }

    var appended: Int { state.withLock { $0.appended } }
    var waiting: Int { state.withLock { $0.records.count } }
    var acknowledged: OutboxRecord.ID { state.withLock { $0.acknowledged } }
    var acknowledgements: Int { state.withLock { $0.acknowledgements } }

    func status() -> OutboxStatus {
        state.withLock {
            OutboxStatus(
                count: $0.records.count, bound: .max, oldest: $0.records.first?.id,
                oldestTime: $0.records.first?.time, newest: $0.records.last?.id,
                acknowledgedThrough: $0.acknowledged)
        }
    }

    func records(after position: OutboxRecord.ID, limit: Int) -> [OutboxRecord] {
        state.withLock { Array($0.records.lazy.filter { $0.id > position }.prefix(limit)) }
    }

    func acknowledge(through position: OutboxRecord.ID) {
        state.withLock { state in
            state.acknowledgements += 1
            state.acknowledged = max(state.acknowledged, position)
            state.records.removeAll { $0.id <= position }
        }
    }
}

extension OutboxRecord {
    static func sample(
        _ index: Int, ordinal: UInt32 = 0, term: Int = 1, kind: Kind = .lockAcquired, actor: String = "client/ann",
        subject: String = "train-42", fields: [Field] = [Field("token", "7")]
    ) -> OutboxRecord {
        OutboxRecord(
            id: ID(index: LogIndex(UInt64(index)), ordinal: ordinal), term: Term(UInt64(term)),
            time: 1_795_406_706_789_012_000 + UInt64(index) * 1000, kind: kind, actor: actor, subject: subject,
            revision: Revision(UInt64(index)), fields: fields)
    }
}

extension PrivatePostgreSQL {
    func client() -> PostgreSQLClient {
        var settings = PostgreSQLSettings(hosts: [socketDirectory], port: port, database: "esper", user: "esper")
        settings.minimumBackoff = .milliseconds(20)
        settings.maximumBackoff = .milliseconds(200)
        settings.connectTimeout = .seconds(1)
        let client = PostgreSQLClient(settings: settings, logger: silent, seed: 11)
        client.start()
        return client
    }
}

/// A server and a client of it, both gone afterwards.
func withCatalogDatabase(_ body: (PrivatePostgreSQL, PostgreSQLClient) async throws -> Void) async throws {
    try await withPrivatePostgreSQL { server in
        let client = server.client()
        do {
            try await body(server, client)
            await client.shutdown(drainingFor: .seconds(1))
        } catch {
            await client.shutdown(drainingFor: .zero)
            throw error
        }
    }
}

/// A projector that runs as long as `body`.
func withProjector(
    _ client: PostgreSQLClient, _ source: MemoryOutbox, node: String = "node-1",
    options: (inout OutboxProjector.Options) -> Void = { _ in }, _ body: (OutboxProjector) async throws -> Void
) async throws {
    var chosen = OutboxProjector.Options()
    chosen.linger = .milliseconds(1)
    chosen.acknowledgeInterval = .milliseconds(10)
    chosen.minimumBackoff = .milliseconds(10)
    chosen.maximumBackoff = .milliseconds(100)
    chosen.checkInterval = .milliseconds(100)
    chosen.deadline = .seconds(2)
    options(&chosen)
    let projector = OutboxProjector(
        client: client, source: source, cluster: cluster, node: node, options: chosen, seed: 5, logger: silent)
    // Cancelled and awaited below.
    let running = Task { await projector.run() }
    do {
        try await body(projector)
    } catch {
        running.cancel()
        await running.value
        throw error
    }
    running.cancel()
    await running.value
}

/// The error of what must fail.
func failure(_ body: () async throws -> some Any) async -> CatalogError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? CatalogError
    }
}
