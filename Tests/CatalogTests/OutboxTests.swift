import Catalog
import Coordination
import Glibc
import EsperTypes
import PostgreSQL
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct OutboxTests {
    static let positions =
        "SELECT string_agg(log_index || '.' || ordinal, ' ' ORDER BY log_index, ordinal) FROM esper.audit_event"

    @Test func `records arrive once, in order, with their terms, nodes and members`() async throws {
        try await withCatalogDatabase { server, client in
            let outbox = MemoryOutbox()
            outbox.append([
                .sample(1, kind: .leadershipStarted, actor: "node/a", subject: "a", fields: [.init("node_id", "01")]),
                .sample(2), .sample(2, ordinal: 1, kind: .sessionGranted),
                .sample(3, kind: .membershipChanged, subject: "d", fields: [.init("change", "learner_added")]),
                .sample(4, kind: .membershipChanged, subject: "d", fields: [.init("change", "promoted")]),
            ])
            try await withProjector(client, outbox) { projector in
                #expect(projector.health != .ok)
                projector.leadershipChanged(Term(1))
                await until { outbox.waiting == 0 }
                #expect(projector.health == .ok)
                outbox.append([.sample(5)])
                projector.outboxGrew()
                await until { outbox.waiting == 0 }
            }
            #expect(outbox.acknowledged == .init(index: LogIndex(5), ordinal: 0))
            #expect(try await server.sql(Self.positions) == "1.0 2.0 2.1 3.0 4.0 5.0")
            #expect(
                try await server.sql(
                    "SELECT kind, actor, subject, details->>'token', revision, at FROM esper.audit_event WHERE log_index = 5"
                )
                    == "lock.acquired|client/ann|train-42|7|5|2026-11-23 04:05:06.789017+00")
            #expect(try await server.sql("SELECT term, node_name, node_id FROM esper.leadership_terms") == "1|a|01")
            #expect(
                try await server.sql("SELECT name, last_event, last_index FROM esper.nodes ORDER BY 1")
                    == "a|leadership.started|1\nd|promoted|4")
            #expect(
                try await server.sql("SELECT log_index, node_name, change FROM esper.membership_events ORDER BY 1")
                    == "3|d|learner_added\n4|d|promoted")
        }
    }

    @Test func `a deposed leader writes nothing`() async throws {
        try await withCatalogDatabase { server, client in
            try await Migrator(client: client, cluster: cluster).migrate()
            let old = OutboxWriter(client: client, cluster: cluster, holder: "a", deadline: .seconds(5))
            let new = OutboxWriter(client: client, cluster: cluster, holder: "b", deadline: .seconds(5))
            #expect(try await old.fence(Term(5)) == .zero)
            try await old.write([.sample(1), .sample(2)], term: Term(5))
            #expect(try await new.fence(Term(6)) == .init(index: LogIndex(2), ordinal: 0))
            #expect(await failure { try await old.write([.sample(3)], term: Term(5)) } == .deposed)
            #expect(await failure { try await old.fence(Term(5)) } == .deposed)
            // Raft has one leader in a term: a second of the same is refused too.
            #expect(await failure { try await old.write([.sample(3)], term: Term(6)) } == .deposed)
            #expect(try await server.sql(Self.positions) == "1.0 2.0")
            // What the old one had written, written again by the new one, changes nothing.
            try await new.write([.sample(2), .sample(3)], term: Term(6))
            #expect(try await server.sql(Self.positions) == "1.0 2.0 3.0")
            #expect(try await server.sql("SELECT log_index, fence_term FROM esper.outbox_progress") == "3|6")
            let stranger = OutboxWriter(client: client, cluster: ClusterID(1), holder: "x", deadline: .seconds(5))
            #expect(await failure { try await stranger.fence(Term(9)) } == .otherCluster(cluster.description))
        }
    }

    @Test func `a leader that was fenced out stays silent until it leads again`() async throws {
        try await withCatalogDatabase { server, client in
            let outbox = MemoryOutbox()
            outbox.append([.sample(1)])
            try await withProjector(client, outbox) { projector in
                projector.leadershipChanged(Term(3))
                await until { outbox.waiting == 0 }
                _ = try await OutboxWriter(client: client, cluster: cluster, holder: "b", deadline: .seconds(5))
                    .fence(Term(4))
                let rollbacks = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'esper'"
                let before = try await server.sql(rollbacks)
                outbox.append([.sample(2)])
                projector.outboxGrew()
                try await until { try await server.sql(rollbacks) != before }
                #expect(try await server.sql("SELECT count(*) FROM esper.audit_event") == "1")
                #expect(outbox.waiting == 1)
                projector.leadershipChanged(nil)
                projector.leadershipChanged(Term(5))
                await until { outbox.waiting == 0 }
            }
            #expect(try await server.sql(Self.positions) == "1.0 2.0")
        }
    }

    @Test func `a server that crashes, comes back and pauses under load gets every record once and in order`()
        async throws
    {
        try await withCatalogDatabase { server, client in
            let outbox = MemoryOutbox()
            try await withProjector(client, outbox, options: { $0.batchRecords = 7 }) { projector in
                projector.leadershipChanged(Term(1))
                let load = Task {
                    var index = 0
                    while !Task.isCancelled {
                        index += 1
                        outbox.append([.sample(index), .sample(index, ordinal: 1)])
                        projector.outboxGrew()
                        // About a thousand a second.
                        await onThread { _ = poll(nil, 0, 1) }
                    }
                }
                await until { outbox.acknowledged.index > LogIndex(50) }
                for _ in 0..<2 {
                    let before = outbox.acknowledged
                    try await server.stopServer()
                    await until { projector.health != .ok }
                    let grown = outbox.appended
                    await until { outbox.appended > grown + 200 }
                    try await server.startServer()
                    await until { outbox.acknowledged > before && projector.health == .ok }
                }
                let before = outbox.acknowledged
                try server.pause()
                await until { projector.health != .ok }
                try server.resume()
                await until { outbox.acknowledged > before && projector.health == .ok }
                load.cancel()
                await load.value
                // A new term takes over where the old one was.
                projector.leadershipChanged(Term(2))
                await until { outbox.waiting == 0 }
            }
            let appended = outbox.appended
            #expect(
                try await server.sql(
                    "SELECT count(*), max(log_index), count(DISTINCT log_index) FROM esper.audit_event")
                    == "\(appended)|\(appended / 2)|\(appended / 2)")
            // In order: what was committed later has the higher position.
            #expect(
                try await server.sql(
                    """
                    SELECT count(*) FROM (SELECT recorded_at, lag(recorded_at) OVER (ORDER BY log_index, ordinal) AS before
                    FROM esper.audit_event) AS pairs WHERE before > recorded_at
                    """) == "0")
        }
    }

    @Test func `a server that hangs is told of where nothing is written too`() async throws {
        try await withCatalogDatabase { server, client in
            try await withProjector(client, MemoryOutbox(), options: { $0.checkInterval = .milliseconds(200) }) {
                projector in
                // A follower's, then that of a leader with nothing to say.
                for term in [nil, Term(1)] {
                    projector.leadershipChanged(term)
                    await until { projector.health == .ok }
                    try server.pause()
                    await until { projector.health != .ok }
                    try server.resume()
                    await until { projector.health == .ok }
                }
            }
        }
    }

    @Test func `garbage is stored in a form that keeps it apart`() async throws {
        try await withCatalogDatabase { server, client in
            let outbox = MemoryOutbox()
            let huge = String(repeating: "🦊", count: 14_000)
            outbox.append([
                .sample(
                    1, actor: "a\0b", subject: "a\0b", fields: [.init("n\0", "\0\u{1}\"\\"), .init("n\0", "last")]),
                .sample(2, subject: #"a\0b"#),
                .sample(3, kind: .leadershipStarted, subject: huge, fields: [.init("node_id", huge)]),
                .sample(4, subject: "'; DROP TABLE esper.audit_event; --"),
                .sample(5, subject: "", fields: []),
            ])
            try await withProjector(client, outbox) { projector in
                projector.leadershipChanged(Term(1))
                await until { outbox.waiting == 0 }
            }
            #expect(try await server.sql(Self.positions) == "1.0 2.0 3.0 4.0 5.0")
            #expect(
                try await server.sql("SELECT subject FROM esper.audit_event WHERE log_index < 3 ORDER BY log_index")
                    == "a\\0b\na\\\\0b")
            #expect(
                try await server.sql(#"SELECT details->>'n\0' FROM esper.audit_event WHERE log_index = 1"#) == "last")
            #expect(
                try await server.sql("SELECT length(subject) FROM esper.audit_event WHERE log_index = 3") == "14000")
        }
    }

    @Test func `a record that the server refuses is stored without its text and holds nobody up`() async throws {
        try await withCatalogDatabase { server, client in
            try await Migrator(client: client, cluster: cluster).migrate()
            _ = try await server.sql("ALTER TABLE esper.audit_event ADD CHECK (subject <> 'cursed')")
            let outbox = MemoryOutbox()
            outbox.append((1...40).map { .sample($0, subject: $0 == 23 ? "cursed" : "fine") })
            try await withProjector(client, outbox) { projector in
                projector.leadershipChanged(Term(1))
                await until { outbox.waiting == 0 }
            }
            #expect(try await server.sql("SELECT count(*) FROM esper.audit_event WHERE subject = 'fine'") == "39")
            #expect(
                try await server.sql("SELECT subject, details::text FROM esper.audit_event WHERE log_index = 23")
                    == #"|{"esper_refused": "23514"}"#)
        }
    }

    @Test func `a burst costs few acknowledgements`() async throws {
        try await withCatalogDatabase { _, client in
            let outbox = MemoryOutbox()
            try await withProjector(
                client, outbox, options: { $0.acknowledgeInterval = .seconds(1) }
            ) { projector in
                projector.leadershipChanged(Term(1))
                for index in 1...2000 {
                    outbox.append([.sample(index)])
                    projector.outboxGrew()
                }
                await until { outbox.waiting == 0 }
            }
            #expect(outbox.acknowledgements < 5)
        }
    }

    @Test func `a catalog that refuses us is a reason, not a failure`() async throws {
        try await withCatalogDatabase { server, client in
            try await Migrator(client: client, cluster: ClusterID(2)).migrate()
            let outbox = MemoryOutbox()
            try await withProjector(client, outbox) { projector in
                projector.leadershipChanged(Term(1))
                await until {
                    projector.health == .degraded(CatalogError.otherCluster(ClusterID(2).description).description)
                }
            }
        }
    }
}
