import EsperTypes
import RaftCore
import Testing

/// Dissertation §3.10.
@Suite struct TransferTests {
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    @Test func `leadership moves to the node asked for, without a gap for anyone's timeout`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let target = cluster.followers(of: leader)[1]
        let start = cluster.now
        cluster.turn(cluster[leader], [.transferLeadership(to: target)])
        #expect(cluster.run { cluster.leader == target })
        #expect(cluster.now - start < .milliseconds(10))
        #expect(cluster[target].roles.contains { $0.reason == .transfer })
        #expect(cluster[leader].transferFailures.isEmpty)
    }

    @Test func `a target that lags is brought level first, and nothing new is admitted (C38)`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let more = lone.turn(.propose([Proposal(token: 1, payload: [])]))
        let asked = lone.turn(.transferLeadership(to: ada))
        #expect(!asked.sends.contains { if case .timeoutNow = $0.message { true } else { false } })
        let refused = lone.turn(.propose([Proposal(token: 2, payload: [])]))
        #expect(refused.contains(.proposalsRefused([2], .transferring)))
        let level = lone.acknowledge(LogIndex(2), from: ada, in: more)
        let orders = level.sends.compactMap { if case .timeoutNow(let order) = $0.message { order } else { nil } }
        #expect(orders == [TimeoutNow(term: Term(1), last: id(1, 2), isLeaseReleased: true)])
    }

    @Test func `a target campaigns only when its durable log reaches the leader's`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1, [entry(1, 1)]))
        let early = lone.receive(.timeoutNow(TimeoutNow(term: Term(1), last: id(1, 1))))
        #expect(early.voteRequests.isEmpty)
        _ = lone.sync()
        let shortOf = lone.receive(.timeoutNow(TimeoutNow(term: Term(1), last: id(1, 2))))
        #expect(shortOf.voteRequests.isEmpty)
        let stranger = lone.receive(.timeoutNow(TimeoutNow(term: Term(1), last: id(1, 1))), from: bob)
        #expect(stranger.voteRequests.isEmpty)
        let effects = lone.receive(.timeoutNow(TimeoutNow(term: Term(1), last: id(1, 1))))
        #expect(effects.voteRequests.map(\.request.isTransfer) == [true, true])
    }

    @Test func `voters do not defend a leader that asks to be replaced`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1), from: ada)
        let vote = lone.receive(.requestVote(RequestVote(term: Term(2), last: .zero, isTransfer: true)), from: bob)
        #expect(vote.voteResponses[0].response.isGranted)
    }

    @Test func `a transfer that does not happen is given up, and proposals are admitted again`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        let target = cluster.followers(of: leader)[0]
        cluster.crash(target)
        cluster.turn(cluster[leader], [.transferLeadership(to: target)])
        let refused = cluster.propose(on: leader)[0]
        #expect(cluster[leader].refused[refused] == .transferring)
        cluster.run(for: .milliseconds(200))
        #expect(cluster[leader].transferFailures == [.timedOut])
        let admitted = cluster.propose(on: leader)[0]
        #expect(cluster[leader].appended[admitted] != nil)
    }

    @Test func `the best prepared voter is chosen when none is named`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.acknowledge(.zero, from: ada, in: elected)
        _ = lone.acknowledge(LogIndex(1), from: bob, in: elected)
        _ = lone.turn(.transferLeadership(to: nil))
        #expect(lone.node.status.transferTarget == bob)
    }

    @Test func `impossible transfers are refused with their reason`() {
        var follower = LoneNode()
        #expect(follower.turn(.transferLeadership(to: ada)).contains(.transferFailed(to: ada, .notLeader)))
        var lone = LoneNode(configuration: Configuration(voters: [LoneNode.me, ada], learners: [bob]))
        let elected = lone.becomeLeader(votes: [ada])
        #expect(lone.turn(.transferLeadership(to: bob)).contains(.transferFailed(to: bob, .noTarget)))
        #expect(lone.turn(.transferLeadership(to: LoneNode.me)).contains(.transferFailed(to: LoneNode.me, .noTarget)))
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        _ = lone.turn(.transferLeadership(to: ada))
        #expect(lone.turn(.transferLeadership(to: ada)).contains(.transferFailed(to: ada, .busy)))
    }

    @Test func `a read during a transfer finds the old leader or the new one (C25)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let target = cluster.followers(of: leader)[0]
        cluster.turn(cluster[leader], [.transferLeadership(to: target)])
        cluster.run(for: .microseconds(1300))
        let token = cluster.read(on: leader)
        #expect(cluster.run(within: .milliseconds(100)) { cluster[leader].readable[token] != nil })
    }

    @Test func `a transfer under load loses nothing`() {
        let cluster = Cluster(3)
        var leader = cluster.elect()
        var appended: [EntryID] = []
        for round in 0..<20 {
            let tokens = cluster.propose(5, on: leader)
            appended += tokens.compactMap { cluster[leader].appended[$0] }
            cluster.turn(cluster[leader], [.transferLeadership(to: nil)])
            cluster.run(for: .milliseconds(Int64(round % 4)))
            leader = cluster.elect()
        }
        #expect(cluster.run { cluster.hasConverged })
        let applied = Set(cluster[leader].applied.map(\.id))
        #expect(appended.allSatisfy(applied.contains))
    }
}
