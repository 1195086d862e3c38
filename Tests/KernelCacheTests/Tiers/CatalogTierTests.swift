import CacheCore
import Catalog
import EsperTypes
import KernelCache
import PostgreSQL
import RaftRuntime
import TestSupport
import Testing

let catalogCluster = ClusterID(0xe59e)

/// A server with the catalog's schema, and a client of it; both gone afterwards.
func withPayloads(
    _ body: (PrivatePostgreSQL, CatalogTier) async throws -> Void
) async throws {
    try await withPrivatePostgreSQL { server in
        var settings = PostgreSQLSettings(
            hosts: [server.socketDirectory], port: server.port, database: "esper", user: "esper")
        settings.minimumBackoff = .milliseconds(20)
        settings.maximumBackoff = .milliseconds(100)
        settings.connectTimeout = .seconds(1)
        let client = PostgreSQLClient(settings: settings, logger: silent, seed: 3)
        client.start()
        do {
            try await Migrator(client: client, cluster: catalogCluster).migrate()
            try await body(server, CatalogTier(PayloadTable(client: client, cluster: catalogCluster)))
            await client.shutdown(drainingFor: .seconds(1))
        } catch {
            await client.shutdown(drainingFor: .zero)
            throw error
        }
    }
}

extension PrivatePostgreSQL {
    /// Turns one bit of the payload.
    func flipBit(of digest: Digest) async throws {
        _ = try await sql(
            """
            UPDATE esper.cache_payload SET payload = set_byte(payload, 7, get_byte(payload, 7) # 1)
            WHERE digest = '\\x\(digest)'
            """)
    }
}

@Suite(.timeLimit(.minutes(2))) struct CatalogTierTests {
    private func code(_ body: () async throws -> some Any) async -> TierFailure.Code? {
        do {
            _ = try await body()
            return nil
        } catch {
            return (error as? TierFailure)?.code
        }
    }

    private func guarded(_ tier: CatalogTier) -> GuardedTier {
        var settings = GuardedTier.Settings()
        settings.breaker.failures = 3
        settings.breaker.firstPause = .milliseconds(5)
        settings.breaker.longestPause = .milliseconds(20)
        return GuardedTier(tier, settings: settings, seed: 1, logger: silent)
    }

    @Test func `it keeps blobs, and nothing of a batch with one that is too large`() async throws {
        try await withPayloads { _, inner in
            let tier = guarded(inner)
            let blobs = (1...20).map { Blob.sample(UInt64($0), size: 1 << ($0 % 21)) } + [.sample(99, size: 1 << 20)]
            let digests = Set(blobs.map(\.digest))
            try await tier.put(blobs + blobs, deadline: .soon)
            #expect(try await tier.has(Array(digests) + [Blob.sample(50).digest], deadline: .soon) == digests)
            let found = try await tier.get(Array(digests), deadline: .soon)
            #expect(found == Dictionary(blobs.map { ($0.digest, $0.bytes) }) { $1 })
            let large = Blob.sample(51, size: 1 << 20 | 1)
            #expect(await code { try await tier.put([.sample(50), large], deadline: .soon) } == .invalid)
            #expect(try await tier.has([large.digest, Blob.sample(50).digest], deadline: .soon).isEmpty)
            try await tier.delete(Array(digests), deadline: .soon)
            #expect(try await tier.has(Array(digests), deadline: .soon).isEmpty)
        }
    }

    @Test func `a flipped bit is never returned, and a store repairs it`() async throws {
        try await withPayloads { server, inner in
            let tier = guarded(inner)
            let (first, second) = (Blob.sample(1, size: 5000), Blob.sample(2, size: 50))
            try await tier.put([first, second], deadline: .soon)
            try await server.flipBit(of: first.digest)
            #expect(try await inner.get([first.digest], deadline: .soon)[first.digest] != first.bytes)
            let found = try await tier.get([first.digest, second.digest], deadline: .soon)
            #expect(found == [second.digest: second.bytes])
            #expect(try await tier.has([first.digest, second.digest], deadline: .soon) == [second.digest])
            // And when nobody has read it before.
            try await server.flipBit(of: second.digest)
            try await tier.put([first, second], deadline: .soon)
            #expect(try await tier.get([first.digest, second.digest], deadline: .soon).count == 2)
        }
    }

    @Test func `a server that stops is unavailable at once, one that hangs at the deadline; both come back`()
        async throws
    {
        try await withPayloads { server, inner in
            let tier = guarded(inner)
            let runner = Task { await tier.run() }
            try await tier.put([.sample(1)], deadline: .soon)
            try await server.stopServer()
            try await until("the breaker to open") {
                _ = try? await tier.has([Blob.sample(1).digest], deadline: NodeClock.now() + .seconds(2))
                return tier.isSuspended
            }
            try await server.startServer()
            try await until("the tier to be back") {
                (try? await tier.get([Blob.sample(1).digest], deadline: .soon).count) == 1
            }
            try server.pause()
            let start = NodeClock.now()
            let failure = await code {
                try await tier.has([Blob.sample(1).digest], deadline: NodeClock.now() + .milliseconds(300))
            }
            #expect(failure == .timedOut)
            #expect(NodeClock.now() - start < .seconds(5))
            try server.resume()
            try await until("the tier to be back") {
                (try? await tier.get([Blob.sample(1).digest], deadline: .soon).count) == 1
            }
            runner.cancel()
            await runner.value
        }
    }

    @Test func `what the server says becomes what a tier says`() async throws {
        try await withPayloads { server, tier in
            let codes: [(state: String, code: TierFailure.Code)] = [
                ("53100", .full), ("53300", .unavailable), ("57P03", .unavailable), ("42501", .refused),
                ("40P01", .unavailable), ("57014", .timedOut), ("XX001", .nonsense), ("25006", .unavailable),
            ]
            for (state, expected) in codes {
                _ = try await server.sql(
                    """
                    CREATE OR REPLACE FUNCTION esper.fail() RETURNS trigger LANGUAGE plpgsql AS
                        $$ BEGIN RAISE EXCEPTION 'as the test says' USING ERRCODE = '\(state)'; END $$;
                    CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON esper.cache_payload
                        EXECUTE FUNCTION esper.fail()
                    """)
                #expect(await code { try await tier.put([.sample(1)], deadline: .soon) } == expected, "\(state)")
            }
        }
    }

    @Test func `a role without rights is refused, and so is another cluster's catalog`() async throws {
        try await withPayloads { server, tier in
            try await tier.put([.sample(1)], deadline: .soon)
            _ = try await server.sql(
                "ALTER TABLE esper.cache_payload OWNER TO postgres; REVOKE ALL ON esper.cache_payload FROM esper")
            #expect(await code { try await tier.has([Blob.sample(1).digest], deadline: .soon) } == .refused)
            _ = try await server.sql("UPDATE esper.cluster SET cluster_id = 'other'")
            #expect(await code { try await tier.probe(deadline: .soon) } == .refused)
            #expect(await code { try await tier.put([.sample(2)], deadline: .soon) } == .refused)
        }
    }

    @Test func `a row that a store counts on, or that was used, is not removed as unused`() async throws {
        try await withPayloads { server, catalog in
            let blobs = (1...5).map { Blob.sample(UInt64($0)) }
            let digests = blobs.map(\.digest)
            try await catalog.put(blobs, deadline: .soon)
            _ = try await server.sql("UPDATE esper.cache_payload SET used_at = now() - interval '25 hours'")
            let day = Duration.seconds(24 * 3600)
            var listed: [Digest] = []
            var next: Digest?
            repeat {
                let page = try await catalog.idle(for: day, after: next, limit: 2, deadline: .soon)
                listed += page.blobs.map(\.digest)
                next = page.next
            } while next != nil
            #expect(listed == digests.sorted())
            #expect(try await catalog.keep([digests[0], Blob.sample(9).digest], deadline: .soon) == [digests[0]])
            try await catalog.put([blobs[1]], deadline: .soon)
            _ = try await catalog.get([digests[2]], deadline: .soon)
            let removed = try await catalog.remove(digests, idleFor: day, deadline: .soon)
            #expect(removed == [digests[3], digests[4]])
            #expect(try await catalog.has(digests, deadline: .soon) == Set(digests.prefix(3)))
            #expect(try await catalog.peek([digests[1]], deadline: .soon) == [digests[1]: blobs[1].bytes])
        }
    }
}
