import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import TestSupport
import Testing

/// What owners of sessions are promised while a leader serves reads, and so confirms keep-alives, by its lease.
@Suite(.timeLimit(.minutes(2)))
struct LeasedSessionTests {
    /// The old leader notices late that it is cut off: until then it confirms keep-alives by its lease, while the next one,
    /// elected at once, knows nothing of them. Its grace has to cover them.
    @Test func `a new leader ends no session before the time that the old one promised under its lease`() async throws {
        var options = RuntimeOptions()
        options.raft.readLease = .seconds(4)
        options.raft.heartbeatInterval = .milliseconds(100)
        options.raft.electionTimeout = .seconds(1)
        let patient: @Sendable (String, inout RuntimeOptions) -> Void = { name, options in
            if name == "n1" { options.raft.electionTimeout = .seconds(20) }
        }
        try await TestCluster.run(3, options: options, adjust: patient) { cluster in
            try await until("leadership of n1") {
                _ = await cluster["n2"].call(
                    .transferLeadership(toMember: "n1"), principal: "client/operator", timeout: .seconds(2))
                return try await cluster.status(of: "n1").leader == "n1"
            }
            let index = try await cluster.command(.put(.init(key: [1], value: [])), on: "n1").index
            try await until("the answers of all voters, which the lease rests on") {
                try await cluster.status(of: "n1").members.allSatisfy { $0.matchIndex >= index }
            }
            let session = try await cluster.session(ttl: .seconds(1), on: "n1")
            guard case .done = await cluster["n1"].call(.isolate(fromPeers: []), principal: "t", timeout: .seconds(5))
            else { throw TestCluster.Unexpected(body: "not isolated") }
            let clock = ContinuousClock()
            var promised = clock.now
            func renew() async -> Bool {
                let asked = clock.now
                guard
                    case .keptAlive(let ttl) = await cluster["n1"].call(
                        .keepAlive(session), principal: "client/test", timeout: .seconds(1))
                else { return false }
                promised = max(promised, asked + ttl)
                return true
            }
            var next: String?
            try await until("another leader, the session kept alive meanwhile") {
                #expect(await renew(), "n1 has no lease while the others elect")
                next = try await cluster.status(of: "n2").leader
                return next != "n1" && next != nil
            }
            let leader = try #require(next)
            // Beside the renewals: the last one, which is not answered, takes its time.
            async let ended = {
                try await until("the end of the session") {
                    try await cluster.read(.session(session, withKeys: false), on: leader) == .session(nil)
                }
                return clock.now
            }()
            // As long as the lease lasts; the last answer holds.
            while await renew() { await pause(.milliseconds(5)) }
            let end = try await ended
            #expect(end >= promised, "the session ended \(end.duration(to: promised)) early")
        }
    }

    @Test func `what a follower asks for its callers is answered once a new leader may commit`()
        async throws
    {
        var options = RuntimeOptions()
        options.raft.readLease = .seconds(2)
        try await TestCluster.run(3, options: options) { cluster in
            let leader = try await cluster.leader()
            let session = try await cluster.session(ttl: .seconds(60), on: leader)
            await cluster.stop(leader)
            let next = try await cluster.leader(otherThan: leader)
            let asked = try #require(cluster.names.first { $0 != leader && $0 != next })
            // Longer than the new leader waits, and far shorter than it could be without an end.
            async let kept = cluster[asked].call(.keepAlive(session), principal: "client/test", timeout: .seconds(10))
            async let told = cluster[asked].call(
                .timeToLive(session, withKeys: false), principal: "client/test", timeout: .seconds(10))
            guard case (.keptAlive, .timeToLive) = (await kept, await told) else {
                throw TestCluster.Unexpected(body: "\(await kept), \(await told)")
            }
        }
    }
}
