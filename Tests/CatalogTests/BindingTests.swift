import CacheCore
import Catalog
import Coordination
import EsperTypes
import PostgreSQL
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct BindingTests {
    private static let rows = """
        SELECT encode(name, 'escape'), version, state, kind, left(encode(manifest, 'hex'), 16), size, cost_ms, mode,
            tiers, left(encode(lineage, 'hex'), 16), extract(epoch FROM expires_at)::bigint, actor
        FROM esper.cache_binding ORDER BY name
        """

    /// What a state machine tells the catalog of these commands.
    private func records(_ commands: [(principal: String, CacheCommand)]) -> [OutboxRecord] {
        var machine = StateMachine()
        var output = ApplyOutput()
        func apply(_ command: Command, by principal: String) {
            let envelope = Envelope(
                time: 1_795_406_706_000_000_000, proposal: ProposalID(origin: NodeID(1), boot: 1, number: 1),
                principal: principal, command: command)
            machine.apply(index: machine.applied.index.next, term: Term(1), payload: envelope.encoded(), into: &output)
        }
        // A catalog that has taken something is one that is told of names.
        apply(.record([.init(kind: .leadershipStarted, subject: "n1")], term: nil), by: "node/n1")
        apply(.acknowledgeOutbox(through: .all(of: LogIndex(1))), by: "node/n1")
        for (principal, command) in commands { apply(.cache(command), by: principal) }
        return machine.outboxRecords(after: .zero, limit: 1000)
    }

    private func bind(
        _ name: String, _ kind: Binding.Kind, _ content: UInt64, lineage: Digest? = nil,
        expiry: CacheBind.Expiry = .never
    ) -> CacheChange {
        .bind(
            CacheBind(
                name: Array(name.utf8), kind: kind, manifest: Digest(words: content, 1, 2, 3), size: content * 10,
                costMilliseconds: 7, tiers: TierSet(.peer), lineage: lineage, expiry: expiry))
    }

    /// Index 3 to 9.
    private var history: [(principal: String, CacheCommand)] {
        let name = { (text: String) in Array(text.utf8) }
        return [
            (
                "client/ann",
                .change([
                    bind("t/a", .action, 1, lineage: Digest(words: 9, 1, 1, 1)), bind("t/b", .alias, 1),
                    bind("t/c", .action, 1, expiry: .at(1_800_000_000_000_000_000)),
                ])
            ),
            ("client/bob", .change([bind("t/b", .alias, 2), bind("t/d", .action, 4)])),
            ("client/eve", .evict(name("t/a"))),
            ("node/n1", .noteTiers([.init(name("t/b"), LogIndex(4), TierSet(.archive))])),
            ("node/n1", .quarantine(name("t/d"), version: LogIndex(4))),
            ("node/n1", .noteTiers([.init(name("t/c"), LogIndex(3), TierSet(.catalog))])),
            (
                "client/ann",
                .change([
                    .bind(
                        CacheBind(
                            name: [0x74, 0x2f, 0xff, 0, 0x5c], kind: .action, manifest: Digest(words: 5, 1, 2, 3),
                            size: 1,
                            mode: .memory, tiers: []))
                ])
            ),
        ]
    }

    private static let expected = [
        "t/a|5|tombstone|||0|0||0|||client/eve",
        "t/b|4|live|alias|0000000000000002|20|7|durable|18|||client/bob",
        "t/c|3|live|action|0000000000000001|10|7|durable|10||1800000000|client/ann",
        "t/d|7|quarantined|action|0000000000000004|40|7||2|||node/n1",
        #"t/\377\000\\|9|live|action|0000000000000005|1|0|memory|0|||client/ann"#,
    ].joined(separator: "\n")

    private func write(_ records: [OutboxRecord], _ writer: OutboxWriter) async throws {
        try await writer.write(records, term: Term(1))
    }

    @Test func `the newest of every name is a row, with who wrote it`() async throws {
        let records = records(history)
        #expect(records.count == 10)
        try await withCatalogDatabase { server, client in
            let outbox = MemoryOutbox()
            outbox.append(records)
            try await withProjector(client, outbox) { projector in
                projector.leadershipChanged(Term(1))
                await until { outbox.waiting == 0 }
            }
            #expect(try await server.sql(Self.rows) == Self.expected)
            #expect(
                try await server.sql(
                    "SELECT kind, count(*) FROM esper.audit_event GROUP BY 1 ORDER BY 1")
                    == "cache.bound|6\ncache.evicted|1\ncache.quarantined|1\ncache.tiers_noted|2")
            #expect(
                try await server.sql("SELECT tenant, count(*) FROM esper.cache_binding GROUP BY 1") == "t|5")
        }
    }

    @Test func `any order, any repetition and any cutting of the records lead to the same rows`() async throws {
        let records = records(history)
        try await withCatalogDatabase { server, client in
            try await Migrator(client: client, cluster: cluster).migrate()
            let writer = OutboxWriter(client: client, cluster: cluster, holder: "a", deadline: .seconds(5))
            _ = try await writer.fence(Term(1))
            var random = SeededGenerator(state: 3)
            for _ in 0..<40 {
                _ = try await server.sql("TRUNCATE esper.cache_binding")
                var left = (records + records).shuffled(using: &random)[...]
                while !left.isEmpty {
                    let batch = left.prefix(Int.random(in: 1...6, using: &random))
                    left = left.dropFirst(batch.count)
                    try await write(Array(batch), writer)
                }
                #expect(try await server.sql(Self.rows) == Self.expected)
            }
        }
    }

    @Test func `an older write that comes late loses, also against a tombstone`() async throws {
        let records = records([
            ("client/ann", .change([bind("t/a", .alias, 1), bind("t/b", .alias, 1)])),
            ("client/bob", .change([bind("t/a", .alias, 2), .evict(Array("t/b".utf8), version: nil)])),
        ])
        try await withCatalogDatabase { server, client in
            try await Migrator(client: client, cluster: cluster).migrate()
            let writer = OutboxWriter(client: client, cluster: cluster, holder: "a", deadline: .seconds(5))
            _ = try await writer.fence(Term(1))
            try await write(Array(records[2...]), writer)
            let rows = try await server.sql(Self.rows)
            #expect(
                rows
                    == "t/a|4|live|alias|0000000000000002|20|7|durable|2|||client/bob\nt/b|4|tombstone|||0|0||0|||client/bob"
            )
            try await write(Array(records[..<2]), writer)
            #expect(try await server.sql(Self.rows) == rows)
            // Bound again, the name lives again.
            let again = self.records([
                ("client/ann", .change([bind("t/b", .alias, 1)])), ("client/ann", .evict(Array("t/b".utf8))),
                ("client/eve", .change([bind("t/b", .alias, 3)])),
            ])
            try await write(again, writer)
            #expect(
                try await server.sql("SELECT version, state, actor FROM esper.cache_binding WHERE name = 't/b'")
                    == "5|live|client/eve")
        }
    }
}

private struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}
