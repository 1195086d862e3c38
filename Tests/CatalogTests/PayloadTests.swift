import Catalog
import EsperTypes
import PostgreSQL
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct PayloadTests {
    private func withTable(
        _ body: (PrivatePostgreSQL, PostgreSQLClient, PayloadTable) async throws -> Void
    ) async throws {
        try await withCatalogDatabase { server, client in
            try await Migrator(client: client, cluster: cluster).migrate()
            try await body(server, client, PayloadTable(client: client, cluster: cluster))
        }
    }

    /// By their digests, as the server calculates them.
    private func payloads(_ contents: [[UInt8]], _ client: PostgreSQLClient) async throws -> [Digest: [UInt8]] {
        var payloads: [Digest: [UInt8]] = [:]
        for content in contents {
            let row = try await client.query(Statement("SELECT sha256($1) AS digest", [.bytes(content)])).only()
            payloads[try #require(Digest(bytes: try row.bytes("digest")))] = content
        }
        return payloads
    }

    private func content(_ number: Int, size: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number &* ($0 | 1)) }
    }

    @Test func `what was put is there, in calls of more than a request takes`() async throws {
        try await withTable { server, client, table in
            try await table.check(within: .seconds(10))
            var kept = try await payloads([[], [0], content(1, size: 2000)], client)
            for number in 0..<6 {
                kept.merge(try await payloads([content(number, size: 1 << 20)], client)) { $1 }
            }
            // Digests of nothing: the table does not ask.
            for number in 0..<2500 { kept[Digest(words: UInt64(number), 1, 2, 3)] = [1, 2, 3] }
            try await table.put(kept, within: .seconds(20))
            let asked = kept.keys + [Digest(words: 9, 9, 9, 9)]
            #expect(try await table.has(asked, within: .seconds(10)) == Set(kept.keys))
            let found = try await table.get(asked + asked, within: .seconds(20))
            #expect(found.payloads == kept)
            #expect(found.untouched.isEmpty)
            try await table.delete(kept.keys.sorted(), within: .seconds(20))
            #expect(try await table.has(asked, within: .seconds(10)).isEmpty)
            #expect(try await server.sql("SELECT count(*) FROM esper.cache_payload") == "0")
        }
    }

    @Test func `a right payload stays as it is; a damaged one is found, replaced or deleted`() async throws {
        try await withTable { server, client, table in
            let kept = try await payloads((1...3).map { content($0, size: 5000) }, client)
            let digests = kept.keys.sorted()
            try await table.put(kept, within: .seconds(10))
            let before = try await server.sql("SELECT string_agg(xmin::text, ',') FROM esper.cache_payload")
            try await table.put(kept, within: .seconds(10))
            let after = try await server.sql("SELECT string_agg(xmin::text, ',') FROM esper.cache_payload")
            #expect(before == after)
            let flip = """
                UPDATE esper.cache_payload SET payload = set_byte(payload, 7, get_byte(payload, 7) # 1)
                WHERE digest = '\\x\(digests[1])'
                """
            _ = try await server.sql(flip)
            try await table.put(kept, within: .seconds(10))
            #expect(try await table.get(digests, within: .seconds(10)).payloads == kept)
            #expect(try await table.deleteDamaged(digests, within: .seconds(10)).isEmpty)
            _ = try await server.sql(flip)
            #expect(try await table.deleteDamaged(digests, within: .seconds(10)) == [digests[1]])
            #expect(try await table.has(digests, within: .seconds(10)) == [digests[0], digests[2]])
        }
    }

    @Test func `a payload leaves only a row that is marked and still unused, and comes back by a put`() async throws {
        try await withTable { server, client, table in
            let kept = try await payloads((1...4).map { content($0, size: 100 * $0) }, client)
            let digests = kept.keys.sorted()
            let (idle, time) = (Duration.seconds(30 * 24 * 3600), Duration.seconds(10))
            func age(_ digests: some Sequence<Digest>) async throws {
                for (days, digest) in digests.enumerated() {
                    _ = try await server.sql(
                        """
                        UPDATE esper.cache_payload SET used_at = now() - interval '1 day' * \(50 - days)
                        WHERE digest = '\\x\(digest)'
                        """)
                }
            }
            try await table.put(kept, within: time)
            #expect(try await table.cold(unusedFor: idle, after: nil, limit: 10, within: time).isEmpty)
            try await age(digests)
            let cold = try await table.cold(unusedFor: idle, after: nil, limit: 3, within: time)
            #expect(cold.map(\.digest) == Array(digests.prefix(3)))
            #expect(cold.map(\.size) == cold.map { kept[$0.digest]?.count })
            let rest = try await table.cold(unusedFor: idle, after: cold.last, limit: 3, within: time)
            #expect(rest.map(\.digest) == [digests[3]])

            #expect(try await table.dropArchived(digests, unusedFor: idle, within: time).isEmpty, "none is marked")
            #expect(try await table.get([digests[3]], within: time).untouched == [digests[3]])
            try await table.touch([digests[3]], within: time)
            #expect(try await table.get([digests[3]], within: time).untouched.isEmpty)
            #expect(try await table.markArchived(digests, unusedFor: idle, within: time) == Set(digests.prefix(3)))
            try await table.touch([digests[2]], within: time)
            #expect(try await table.dropArchived(digests, unusedFor: idle, within: time) == Set(digests.prefix(2)))
            #expect(try await table.has(digests, within: time) == Set(digests.suffix(2)))
            #expect(
                try await server.sql(
                    "SELECT count(*), bool_and(archived) FROM esper.cache_payload WHERE payload IS NULL") == "2|t")
            #expect(try await table.cold(unusedFor: idle, after: nil, limit: 10, within: time).isEmpty)

            try await table.put(kept, within: time)
            #expect(try await table.get(digests, within: time).payloads == kept)
            try await age(digests)
            #expect(
                try await table.dropArchived(digests, unusedFor: idle, within: time) == [digests[2]],
                "what was put again is not in the archive for certain")
        }
    }

    @Test func `writers of the same payloads in every order all succeed`() async throws {
        try await withTable { server, client, table in
            let other = server.client()
            let kept = try await payloads((1...40).map { content($0, size: 3000) }, client)
            let digests = kept.keys.sorted()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (number, digest) in digests.enumerated() {
                    for offset in [0, 1] {
                        let pair = [digest, digests[(number &* 7 &+ offset) % digests.count]]
                        let part = kept.filter { pair.contains($0.key) }
                        let writer = offset == 0 ? table : PayloadTable(client: other, cluster: cluster)
                        group.addTask { try await writer.put(part, within: .seconds(20)) }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await table.has(digests, within: .seconds(10)) == Set(digests))
            await other.shutdown(drainingFor: .zero)
        }
    }

    @Test func `a catalog without the table, or of another cluster, is not used`() async throws {
        try await withCatalogDatabase { _, client in
            let table = PayloadTable(client: client, cluster: cluster)
            guard case .database(let error) = await failure({ try await table.check(within: .seconds(10)) }) else {
                Issue.record("a catalog that is empty was taken")
                return
            }
            #expect(error.sqlState == "42P01")
            try await Migrator(client: client, cluster: cluster).migrate()
            try await table.check(within: .seconds(10))
            let foreign = PayloadTable(client: client, cluster: ClusterID(1))
            #expect(
                await failure { try await foreign.check(within: .seconds(10)) }
                    == .otherCluster(cluster.description))
        }
    }
}
