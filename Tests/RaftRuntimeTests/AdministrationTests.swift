import Coordination
import EsperTypes
import RaftRuntime
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)))
struct AdministrationTests {
    private func transfer(to target: String?, on name: String, in cluster: TestCluster) async throws -> (String, Term) {
        switch await cluster[name].call(
            .transferLeadership(toMember: target), principal: "client/operator", timeout: .seconds(10))
        {
        case .transferred(let leader, let term): return (leader, term)
        case .failed(let failure): throw failure
        case let other: throw TestCluster.Unexpected(body: "\(other)")
        }
    }

    @Test func `leadership goes where an operator sends it, asked of any node, and the answer says who leads`()
        async throws
    {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.leader()
            let others = cluster.names.filter { $0 != first }
            // Asked of the leader.
            let (second, term) = try await transfer(to: others[0], on: first, in: cluster)
            #expect(second == others[0])
            // Asked of a node that follows, and is to lead itself.
            let (third, later) = try await transfer(to: others[1], on: others[1], in: cluster)
            #expect(third == others[1])
            #expect(later > term)
            // There already.
            #expect(try await transfer(to: others[1], on: first, in: cluster).0 == others[1])
            try await cluster.put("key", "value", on: first)
        }
    }

    @Test func `a hand-over that cannot be done says so`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let follower = try await cluster.follower()
            await cluster.stop(follower)
            let remaining = try #require(cluster.names.first { $0 != leader && $0 != follower })
            for asked in [leader, remaining] {
                let failure = await #expect(throws: ServiceFailure.self) {
                    _ = try await transfer(to: follower, on: asked, in: cluster)
                }
                #expect(failure?.code == .transferFailed)
                #expect(failure?.outcome == .notCommitted)
            }
            let unknown = await #expect(throws: ServiceFailure.self) {
                _ = try await transfer(to: "n9", on: leader, in: cluster)
            }
            #expect(unknown?.message.contains("n1, n2, n3") == true)
            try await cluster.put("key", "value", on: leader)
        }
    }

    @Test func `a node is cut off from the peers that are named, and from no others`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let followers = cluster.names.filter { $0 != leader }
            // One follower hears no more of the leader; the other is their common peer.
            func isolate(_ name: String, from peers: [String]) async -> ServiceReply.Body {
                await cluster[name].call(.isolate(fromPeers: peers), principal: "client/operator", timeout: .seconds(5))
            }
            for wrong in ["n9", followers[0], ""] {
                guard case .failed(let failure) = await isolate(followers[0], from: [leader, wrong]) else {
                    Issue.record("cut off from '\(wrong)'")
                    return
                }
                #expect(failure.code == .unknownMember && failure.outcome == .notCommitted)
                #expect(failure.message.contains(leader) && failure.message.contains(followers[1]))
            }
            try await until("a word of the leader") { try await cluster.readiness(of: followers[0]) == .ready }
            guard case .done = await isolate(followers[0], from: [leader]) else {
                Issue.record("not cut off")
                return
            }
            // Not isolated: it goes on hearing its other peer. What the leader commits does not come, though.
            try await cluster.put("key", "new", on: leader)
            #expect(try await cluster.readiness(of: followers[0]) != .isolated)
            #expect(try await cluster.get("key", on: followers[1]) == "new")
            #expect(try await cluster.get("key", on: followers[0], linearizable: false) == nil)
            guard case .done = await cluster[followers[0]].call(.heal, principal: "t", timeout: .seconds(5)) else {
                Issue.record("not healed")
                return
            }
            try await until("what was missed") {
                try await cluster.get("key", on: followers[0], linearizable: false) == "new"
            }
        }
    }

    @Test func `founders and what operators do are recorded, once, with who did it`() async throws {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.leader()
            let next = try #require(cluster.names.first { $0 != first })
            _ = try await transfer(to: next, on: first, in: cluster)
            // A command of the new term: everything before it is applied.
            try await cluster.put("key", "value", on: next)
            guard case .outbox(let records) = try await cluster.read(.outbox(after: .zero, limit: 100), on: next) else {
                Issue.record("no outbox")
                return
            }
            let founders = records.filter { $0.kind == .membershipChanged }
            #expect(founders.map(\.subject) == ["n1", "n2", "n3"])
            #expect(founders.allSatisfy { $0.fields.contains(.init("change", "voter_added")) })
            let orders = records.filter { $0.kind == .administration }
            #expect(orders.map(\.subject) == ["leadership.transfer"])
            #expect(orders.map(\.actor) == ["client/operator"])
            #expect(orders.first?.fields == [.init("to", next)])
            #expect(records.filter { $0.kind == .leadershipStarted }.count == 2)
        }
    }

    @Test func `a leader without a catalog ends no audit trail of which one has taken records`() async throws {
        try await TestCluster.run(3, unaudited: ["n2"]) { cluster in
            func lead(_ name: String) async throws {
                _ = try await transfer(to: name, on: try await cluster.leader(), in: cluster)
            }
            func isAudited() async throws -> Bool {
                guard case .settings(let settings) = try await cluster.read(.settings, on: "n1") else {
                    throw TestCluster.Unexpected(body: "no settings")
                }
                return settings.auditsCoordination
            }
            // Nothing is kept for nobody, until a leader knows a catalog.
            try await lead("n2")
            try await until("no audit trail") { try await !isAudited() }
            try await lead("n1")
            try await until("an audit trail") { try await isAudited() }
            _ = try await cluster.session(ttl: .seconds(60), on: "n1")
            let applied = try await cluster.status(of: "n1").appliedIndex
            try await cluster.command(.acknowledgeOutbox(through: .all(of: applied)), on: "n1")

            try await lead("n2")
            _ = try await cluster.session(ttl: .seconds(60), on: "n2")
            #expect(try await isAudited())
            guard case .outbox(let records) = try await cluster.read(.outbox(after: .zero, limit: 100), on: "n2") else {
                Issue.record("no outbox")
                return
            }
            #expect(records.contains { $0.kind == .sessionGranted })
        }
    }
}
