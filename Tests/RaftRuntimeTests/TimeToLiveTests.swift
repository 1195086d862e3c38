import Coordination
import EsperTypes
import RaftRuntime
import Testing
import TestSupport

@Suite(.timeLimit(.minutes(2)))
struct TimeToLiveTests {
    private func timeToLive(
        _ session: SessionID, withKeys: Bool, on node: String, of cluster: TestCluster
    ) async throws -> SessionTimeToLive {
        switch await cluster[node].call(
            .timeToLive(session, withKeys: withKeys), principal: "client/test", timeout: .seconds(20))
        {
        case .timeToLive(let found): return found
        case .failed(let failure): throw failure
        case let other: throw TestCluster.Unexpected(body: "\(other)")
        }
    }

    @Test func `every node tells what is left of a session, and which keys it has`() async throws {
        try await TestCluster.run(3) { cluster in
            let (leader, follower) = (try await cluster.leader(), try await cluster.follower())
            let id = SessionID(0x7abc_0000_0000_0001)
            let ttl = Duration.seconds(60)
            try await cluster.command(.grantSession(id: id, ttl: ttl), on: follower)
            for key in ["b", "a"] {
                try await cluster.command(.put(.init(key: Array(key.utf8), value: [], session: id)), on: follower)
            }
            for node in [leader, follower] {
                let found = try await timeToLive(id, withKeys: true, on: node, of: cluster)
                #expect(found.session == id && found.granted == ttl)
                #expect(found.remaining > .seconds(30) && found.remaining <= ttl)
                #expect(found.keys == [Array("a".utf8), Array("b".utf8)])
                #expect(try await timeToLive(id, withKeys: false, on: node, of: cluster).keys.isEmpty)
                do {
                    _ = try await timeToLive(SessionID(77), withKeys: true, on: node, of: cluster)
                    Issue.record("a session that never was has time left")
                } catch let failure as ServiceFailure {
                    #expect(failure.code == .sessionNotFound && failure.outcome == .notCommitted)
                }
            }
        }
    }

    @Test func `time runs off until the session is kept alive`() async throws {
        try await TestCluster.run(1) { cluster in
            let session = try await cluster.session(ttl: .seconds(30), on: "n1")
            let first = try await timeToLive(session, withKeys: false, on: "n1", of: cluster).remaining
            try await until("some of it to run off") {
                try await timeToLive(session, withKeys: false, on: "n1", of: cluster).remaining < first
            }
            #expect(try await cluster.keepAlive(session, on: "n1") == .seconds(30))
        }
    }

    @Test func `a session that ended has no time, and one with its ID begins anew`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            let grant = Command.grantSession(id: SessionID(99), ttl: .seconds(60))
            for _ in 0..<3 {
                try await cluster.command(grant, on: follower)
                #expect(
                    try await cluster.command(grant, on: follower).result == .refused(.sessionExists(SessionID(99))))
                #expect(try await cluster.keepAlive(SessionID(99), on: follower) == .seconds(60))
                try await cluster.command(.revokeSession(SessionID(99)), on: follower)
            }
            await #expect(throws: ServiceFailure.self) {
                try await timeToLive(SessionID(99), withKeys: false, on: follower, of: cluster)
            }
        }
    }

    @Test func `a copy of the state stays as it was, and hashes alike on every node`() async throws {
        try await TestCluster.run(3) { cluster in
            for value in 0..<20 { try await cluster.put("k\(value % 7)", "\(value)", on: "n1") }
            func copy(_ name: String, linearizable: Bool = true) async throws -> StateMachine {
                guard
                    case .stateCopy(let copy) = await cluster[name].call(
                        .stateCopy(linearizable: linearizable), principal: "client/test", timeout: .seconds(20))
                else { throw TestCluster.Unexpected(body: "no copy") }
                return copy.state
            }
            let first = try await copy("n1")
            let hash = try first.keyspaceHash()
            try await cluster.put("k1", "other", on: "n2")
            #expect(try first.keyspaceHash() == hash)
            for name in cluster.names {
                let later = try await copy(name)
                #expect(try later.keyspaceHash(at: first.revision) == hash)
                #expect(try later.keyspaceHash() != hash)
                #expect(SnapshotEncoder(later).contains { !$0.isEmpty })
            }
            _ = try await copy("n3", linearizable: false)
        }
    }

    @Test func `a node's identity, term and revision are known without asking it`() async throws {
        try await TestCluster.run(3) { cluster in
            let reply = try await cluster.command(.put(.init(key: [1], value: [])), on: "n2")
            let status = try await cluster.status(of: "n2")
            #expect(cluster["n2"].revision >= reply.revision && cluster["n2"].term == status.term)
            #expect(cluster["n2"].nodeID == NodeID(2) && cluster["n2"].clusterID == TestCluster.clusterID)
            let leader = try await cluster.leader()
            await cluster.stop(leader)
            let next = try await cluster.leader(otherThan: leader)
            #expect(cluster[next].term > status.term)
        }
    }
}
