import CacheCore
import Catalog
import EsperTypes
import KernelCache
import Logging
import NIOCore
import PostgreSQL
import RaftRuntime

/// The tiers of this node's cache beyond the nodes' own memories and disks, each behind its guard, with what keeps them going.
///
/// Nothing here waits for a server: a tier that is down at the start is probed until it is there.
final class NodeTiers: Sendable {
    /// By nearness.
    let outer: [GuardedTier]
    /// What the catalog tells of names; nil without one.
    let rows: BindingTable?
    /// Of the cache alone: what waits here does not delay the projection.
    private let client: PostgreSQLClient?
    /// Probes and demotion; cancelled and awaited by ``stop()``.
    private let work: Task<Void, Never>

    private init(
        _ outer: [GuardedTier], _ rows: BindingTable?, _ client: PostgreSQLClient?, _ demotion: Demotion?
    ) {
        self.outer = outer
        self.rows = rows
        self.client = client
        work = Task {
            await withDiscardingTaskGroup { group in
                for tier in outer { group.addTask { await tier.run() } }
                if let demotion { group.addTask { await demotion.run() } }
            }
        }
    }

    /// - Throws: ``StartError`` when the settings of a tier make no sense.
    static func start(
        _ settings: NodeSettings, node: NodeHandle, on group: any EventLoopGroup, logger: Logger
    ) async throws -> NodeTiers {
        let cache = settings.cache
        var random = SystemRandomNumberGenerator()
        var outer: [GuardedTier] = []
        func guarded(
            _ tier: any BlobTier, read: Duration, write: Duration, digestsAtOnce: Int = 1024
        ) -> GuardedTier {
            var limits = GuardedTier.Settings()
            (limits.callLimit, limits.writeLimit, limits.digestsAtOnce) = (read, write, digestsAtOnce)
            return GuardedTier(tier, settings: limits, seed: random.next(), logger: logger)
        }
        if let url = cache.redis {
            let tier = try redis(url, on: group, seed: random.next(), logger)
            outer.append(guarded(tier, read: .seconds(1), write: .seconds(5)))
        }
        var catalog: CatalogTier?
        var client: PostgreSQLClient?
        var rows: BindingTable?
        if let connection = settings.catalog.connection {
            var place = try PostgreSQLSettings(connectionString: connection)
            place.applicationName += "-cache"
            let own = PostgreSQLClient(settings: place, logger: logger, seed: random.next())
            rows = BindingTable(client: own, cluster: settings.clusterID, actor: "node/" + settings.name)
            client = own
            if cache.usesCatalog {
                let tier = CatalogTier(PayloadTable(client: own, cluster: settings.clusterID))
                outer.append(guarded(tier, read: .seconds(2), write: .seconds(10)))
                catalog = tier
            }
        }
        var demotion: Demotion?
        if let place = cache.archive {
            let tier = guarded(
                try await archive(place, owner: settings.clusterID.description, on: group, logger),
                // Each is a request of its own, of which a few are under way at once.
                read: .seconds(10), write: .seconds(30), digestsAtOnce: 64)
            outer.append(tier)
            demotion = catalog.map { catalog in
                var speed = Demotion.Settings()
                (speed.unusedFor, speed.bytesPerSecond) = (cache.demoteAfter, cache.demoteBytesPerSecond)
                // Whoever loses and regains leadership in between has missed nothing.
                speed.turnInterval = settings.raft.electionTimeout
                // One node is enough, and the leader is one.
                return Demotion(
                    from: catalog, to: tier, settings: speed, isTurn: { await node.leads(within: .seconds(5)) },
                    logger: logger)
            }
        }
        client?.start()
        return NodeTiers(outer, rows, client, demotion)
    }

    private static func redis(
        _ url: String, on group: any EventLoopGroup, seed: UInt64, _ logger: Logger
    ) throws(StartError) -> RedisTier {
        do throws(TierFailure) {
            return try RedisTier(url: url, on: group, seed: seed, logger: logger)
        } catch {
            throw StartError(message: "cache.redis: \(error.message)")
        }
    }

    /// A bucket's files with secrets must be there. A directory is opened by its probes: on a network it may be missing, or hang,
    /// when the node starts.
    private static func archive(
        _ place: NodeSettings.Archive, owner: String, on group: any EventLoopGroup, _ logger: Logger
    ) async throws(StartError) -> any BlobTier {
        guard case .directory = place else {
            return ArchiveTier(try await NodeArchive.open(place, on: group, logger: logger), owner: owner)
        }
        return DeferredTier(.archive) { () throws(TierFailure) in
            do throws(StartError) {
                return ArchiveTier(try await NodeArchive.open(place, on: group, logger: logger), owner: owner)
            } catch {
                throw TierFailure(.archive, .unavailable, error.message)
            }
        }
    }

    /// After the cache, which uses them.
    func stop() async {
        work.cancel()
        await work.value
        for tier in outer { await tier.close() }
        await client?.shutdown(drainingFor: .zero)
    }
}
