import APIDoor
import Catalog
import Coordination
import EsperTypes
import Logging
import Observability
import PostgreSQL
import RaftRuntime

/// The node's connection to the PostgreSQL catalog: the projector with its client and its source.
///
/// PostgreSQL being away stops nothing but the projection; the node says `degraded` until it is back.
final class NodeCatalog: Sendable {
    private let client: PostgreSQLClient
    private let projector: OutboxProjector
    /// Cancelled and awaited by ``stop()``.
    private let work: Task<Void, Never>

    /// Nil when the settings name no catalog.
    ///
    /// - Throws: when the connection string cannot be read.
    init?(
        _ settings: NodeSettings, node: NodeHandle, events: NodeEvents, health: Health, logger: Logger
    ) throws {
        guard let connection = settings.catalog.connection else {
            _ = health.component(
                "catalog", state: .degraded, reason: "no catalog is configured (catalog.url); history is not kept")
            return nil
        }
        var random = SystemRandomNumberGenerator()
        client = PostgreSQLClient(
            settings: try PostgreSQLSettings(connectionString: connection), logger: logger, seed: random.next())
        let reporter = health.component(
            "catalog", state: .degraded, reason: "the catalog has not been reached yet")
        projector = OutboxProjector(
            client: client, source: NodeOutbox(node: node), cluster: settings.clusterID, node: settings.name,
            seed: random.next(), logger: logger,
            onHealth: { state in
                switch state {
                case .ok: reporter.ok()
                case .degraded(let reason): reporter.degraded(reason)
                }
            })
        client.start()
        events.attach(projector)
        work = Task { [projector] in await projector.run() }
    }

    /// For the status.
    var state: CatalogState {
        switch projector.health {
        case .ok: .ok
        case .degraded: .degraded
        }
    }

    func stop() async {
        work.cancel()
        await work.value
        await client.shutdown(drainingFor: .seconds(1))
    }
}

/// The replicated outbox of this node, as the projector reads and trims it.
private struct NodeOutbox: OutboxSource {
    let node: NodeHandle

    private static let principal = "node/catalog"
    private static let timeout = Duration.seconds(5)

    func status() async throws -> OutboxStatus {
        guard case .outboxStatus(let status) = try await query(.outboxStatus) else { throw Unanswered() }
        return status
    }

    func records(after position: OutboxRecord.ID, limit: Int) async throws -> [OutboxRecord] {
        guard case .outbox(let records) = try await query(.outbox(after: position, limit: limit)) else {
            throw Unanswered()
        }
        return records
    }

    func acknowledge(through position: OutboxRecord.ID) async throws {
        let body = await node.call(
            .command(.acknowledgeOutbox(through: position), nil), principal: Self.principal, timeout: Self.timeout)
        switch body {
        case .command(let reply): if let refusal = reply.result.refusal { throw refusal }
        case .failed(let failure): throw failure
        default: throw Unanswered()
        }
    }

    /// From this node's own state: the leader's has everything that is committed.
    private func query(_ query: Query) async throws -> QueryResult {
        switch await node.call(
            .query(query, linearizable: false), principal: Self.principal, timeout: Self.timeout)
        {
        case .query(let reply): return reply.result
        case .failed(let failure): throw failure
        default: throw Unanswered()
        }
    }

    struct Unanswered: Error {}
}
