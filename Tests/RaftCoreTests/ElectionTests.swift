import EsperTypes
import RaftCore
import Testing

/// Raft §5.2, §5.4.1; dissertation §4.2.3, §6.2, §9.6.
@Suite struct ElectionTests {
    let me = LoneNode.me
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    @Test func `a cluster elects one leader (§5.2)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        for follower in cluster.followers(of: leader) {
            #expect(cluster[follower].status.leader == leader)
            #expect(cluster[follower].status.role == .follower)
        }
    }

    @Test func `a single voter leads at once, after its vote is durable`() {
        var lone = LoneNode(voters: [me])
        let effects = lone.turn(.deadlineReached)
        #expect(lone.node.status.role == .candidate)
        #expect(effects.batches.last?.hardState == HardState(term: Term(1), vote: me))
        _ = lone.sync()
        #expect(lone.node.status.role == .leader)
    }

    @Test func `another leader replaces one that falls silent, in a later term (§5.2)`() {
        let cluster = Cluster(3)
        let first = cluster.elect()
        let term = cluster[first].status.term
        cluster.crash(first)
        let start = cluster.now
        let second = cluster.elect()
        #expect(second != first)
        #expect(cluster[second].status.term > term)
        #expect(cluster.now - start < .milliseconds(700))
    }

    @Test func `election timeouts are drawn between once and twice the option (§5.2)`() {
        var seen: Set<Int64> = []
        for seed in 0..<50 {
            let start = Instant(nanoseconds: 5)
            let node = RaftNode(
                id: me, restored: RestoredState(configuration: Configuration(voters: [me, ada, bob])),
                seed: UInt64(seed), at: start)
            let timeout = node.nextDeadline - start
            #expect(timeout >= .milliseconds(150) && timeout < .milliseconds(300))
            seen.insert(timeout.nanoseconds)
        }
        #expect(seen.count > 40)
    }

    @Test func `a node votes once a term, first come first served (§5.2)`() {
        var lone = LoneNode()
        let request = RequestVote(term: Term(4), last: .zero, isTransfer: false)
        #expect(lone.receive(.requestVote(request), from: ada).voteResponses[0].response.isGranted)
        #expect(!lone.receive(.requestVote(request), from: bob).voteResponses[0].response.isGranted)
        // The same candidate again: its first request or our answer was lost.
        #expect(lone.receive(.requestVote(request), from: ada).voteResponses[0].response.isGranted)
    }

    @Test func `a vote is remembered over a restart (§5.2)`() {
        var lone = LoneNode(hardState: HardState(term: Term(4), vote: ada))
        let request = RequestVote(term: Term(4), last: .zero, isTransfer: false)
        #expect(!lone.receive(.requestVote(request), from: bob).voteResponses[0].response.isGranted)
        #expect(lone.receive(.requestVote(request), from: ada).voteResponses[0].response.isGranted)
    }

    @Test func `a vote leaves after the write that records it`() {
        var lone = LoneNode()
        let effects = lone.receive(.requestVote(RequestVote(term: Term(1), last: .zero, isTransfer: false)))
        let batch = effects.batches[0]
        #expect(batch.hardState == HardState(term: Term(1), vote: ada))
        #expect(effects.voteResponses[0].after == batch.sequence)
        guard case .persist = effects.first(where: { if case .roleChanged = $0 { false } else { true } }) else {
            Issue.record("persist comes first: \(effects)")
            return
        }
    }

    @Test(arguments: [(id(2, 3), true), (id(2, 4), true), (id(3, 1), true), (id(2, 2), false), (id(1, 9), false)])
    func `only a log at least as complete gets the vote (§5.4.1)`(last: EntryID, isGranted: Bool) {
        let entries = [entry(1, 1), entry(1, 2), entry(2, 3)]
        var lone = LoneNode(hardState: HardState(term: Term(3)), entries: entries)
        let vote = lone.receive(.requestVote(RequestVote(term: Term(4), last: last, isTransfer: false)))
        #expect(vote.voteResponses[0].response.isGranted == isGranted)
        var asked = LoneNode(hardState: HardState(term: Term(3)), entries: entries)
        let preVote = asked.receive(.preVoteRequest(PreVoteRequest(term: Term(4), last: last, round: 1)))
        #expect(preVote.preVoteResponses[0].isGranted == isGranted)
    }

    @Test func `a candidate of an old term is refused and told the new one (§5.1)`() {
        var lone = LoneNode(hardState: HardState(term: Term(7)))
        let response = lone.receive(.requestVote(RequestVote(term: Term(6), last: .zero, isTransfer: false)))
            .voteResponses[0].response
        #expect(response == RequestVoteResponse(term: Term(7), isGranted: false))
    }

    @Test func `a leader steps down when it sees a newer term (§5.1)`() {
        var lone = LoneNode()
        _ = lone.becomeLeader()
        let effects = lone.receive(
            .appendEntriesResponse(
                AppendEntriesResponse(
                    term: Term(9), session: .zero, readSequence: .zero, outcome: .staleTerm)))
        #expect(effects.roles.last == RoleChange(role: .follower, term: Term(9), leader: nil, reason: .newerTerm))
    }

    @Test func `a candidate gives way to the leader of its term (§5.2)`() {
        var lone = LoneNode()
        let round = lone.loseLeader().preVoteRequests[0].round
        _ = lone.receive(.preVoteResponse(PreVoteResponse(term: .zero, isGranted: true, round: round)))
        #expect(lone.node.status.role == .candidate)
        _ = lone.receive(append(term: 1), from: bob)
        #expect(lone.node.status.role == .follower)
        #expect(lone.node.status.leader == bob)
    }

    // MARK: Pre-vote (dissertation §9.6)

    @Test func `asking for pre-votes spends no term and writes nothing`() {
        var lone = LoneNode(hardState: HardState(term: Term(3)))
        let effects = lone.loseLeader()
        #expect(effects.preVoteRequests.map(\.term) == [Term(4), Term(4)])
        #expect(effects.batches.isEmpty)
        #expect(lone.node.status.term == Term(3))
    }

    @Test func `granting a pre-vote changes no state (C3)`() {
        var lone = LoneNode(hardState: HardState(term: Term(3)))
        let before = (lone.node.status, lone.node.nextDeadline)
        let effects = lone.receive(.preVoteRequest(PreVoteRequest(term: Term(9), last: .zero, round: 5)))
        #expect(effects.preVoteResponses == [PreVoteResponse(term: Term(3), isGranted: true, round: 5)])
        #expect(lone.node.status == before.0)
        #expect(lone.node.nextDeadline == before.1)
    }

    @Test func `no pre-vote and no vote while a live leader is known (dissertation §4.2.3)`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1), from: ada)
        let asked = lone.receive(.preVoteRequest(PreVoteRequest(term: Term(2), last: .zero, round: 1)), from: bob)
        #expect(!asked.preVoteResponses[0].isGranted)
        let vote = lone.receive(.requestVote(RequestVote(term: Term(5), last: .zero, isTransfer: false)), from: bob)
        #expect(vote.isEmpty)
        #expect(lone.node.status.term == Term(1))
        // After an election timeout of silence the leader is not defended any more.
        lone.now = lone.now + .milliseconds(150)
        let later = lone.receive(.preVoteRequest(PreVoteRequest(term: Term(2), last: .zero, round: 2)), from: bob)
        #expect(later.preVoteResponses[0].isGranted)
    }

    @Test func `a node with an old term learns the new one from a refused pre-vote (C1)`() {
        let cluster = Cluster(
            3,
            restored: [5, 5, 1].map { term in
                RestoredState(
                    hardState: HardState(term: Term(term)),
                    configuration: Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)]))
            })
        cluster.crash(NodeID(1))
        let start = cluster.now
        _ = cluster.elect()
        #expect(cluster.now - start < .seconds(1))
    }

    @Test func `the former leader may win again (C3)`() {
        let cluster = Cluster(2)
        let leader = cluster.elect()
        let other = cluster.followers(of: leader)[0]
        cluster.isolate(leader)
        #expect(cluster.run { cluster[leader].status.role != .leader })
        cluster.propose(on: leader)
        cluster.heal()
        // The other may not campaign: only the former leader can win.
        cluster.drops = { message, from, _ in
            if case .preVoteRequest = message { from == other } else { false }
        }
        #expect(cluster.elect() == leader)
    }

    @Test func `late answers of an earlier round start no second election (C4)`() {
        var lone = LoneNode()
        let first = lone.loseLeader().preVoteRequests[0].round
        let second = lone.loseLeader().preVoteRequests[0].round
        #expect(first != second)
        _ = lone.receive(.preVoteResponse(PreVoteResponse(term: .zero, isGranted: true, round: first)))
        #expect(lone.node.status.role == .preCandidate)
        _ = lone.receive(.preVoteResponse(PreVoteResponse(term: .zero, isGranted: true, round: second)))
        #expect(lone.node.status.role == .candidate)
        let term = lone.node.status.term
        _ = lone.receive(.preVoteResponse(PreVoteResponse(term: .zero, isGranted: true, round: second)), from: bob)
        #expect(lone.node.status.term == term)
    }

    @Test func `a lagging follower without its leader asks at a bounded rate (C5)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        let cutOff = cluster.followers(of: leader)[0]
        cluster.cutOneWay(from: leader, to: cutOff)
        cluster.propose(20, on: leader)
        var requests = 0
        cluster.tap = { message, from, _ in if case .preVoteRequest = message, from == cutOff { requests += 1 } }
        cluster.run(for: .seconds(3))
        #expect(requests > 0 && requests <= 2 * 20)
        #expect(cluster.leader == leader)
        cluster.heal()
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `a request for votes waits for the own term, vote and log (C9)`() {
        var lone = LoneNode(voters: [me, ada, bob])
        _ = lone.receive(append(term: 1, [entry(1, 1)]), from: ada)
        let round = lone.loseLeader().preVoteRequests[0].round
        let effects = lone.receive(
            .preVoteResponse(PreVoteResponse(term: Term(1), isGranted: true, round: round)), from: bob)
        let batch = effects.batches[0]
        #expect(effects.voteRequests.map(\.after) == [batch.sequence, batch.sequence])
        // Its own vote counts no earlier either.
        _ = lone.receive(.requestVoteResponse(RequestVoteResponse(term: Term(2), isGranted: true)), from: bob)
        #expect(lone.node.status.role == .candidate)
        _ = lone.sync()
        #expect(lone.node.status.role == .leader)
    }

    /// Pre-votes for the shorter log do not make up for it: what they say may be over when the vote of before the crash comes.
    @Test func `no vote for a log that a crash has taken counts for the shorter one (C9)`() throws {
        let cluster = Cluster(5)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let others = cluster.followers(of: leader)
        let (candidate, voter, late) = (others[0], others[1], others[2])
        #expect(cluster[candidate].disk.hardState.vote == leader)

        // An entry is on the disks of the leader and one voter, and on its way to that of the candidate.
        cluster[candidate].disk.isFrozen = true
        var missing: Message?
        cluster.drops = { message, from, to in
            guard from == leader, to != candidate, to != voter else { return false }
            if to == late, case .appendEntries = message { missing = message }
            return true
        }
        cluster.propose(on: leader)
        cluster.run(for: .milliseconds(2))
        let entry = cluster[leader].status.last
        #expect(cluster[candidate].status.last == entry)
        #expect(cluster[candidate].status.durable < entry.index)

        // The others lose sight of the leader. Whatever the candidate asks of the voter is answered late.
        var answers: [Message] = []
        cluster.drops = { message, from, to in
            if case .requestVote = message, to != voter { return true }
            if case .requestVoteResponse = message, from == voter {
                answers.append(message)
                return true
            }
            return from == leader
        }
        for node in others { cluster.turn(cluster[node], [.linkDown(leader)]) }
        #expect(cluster.run(within: .milliseconds(5)) { cluster[candidate].status.role == .candidate })
        cluster.run(for: .milliseconds(2))
        cluster.crash(candidate)
        cluster.restart(candidate)
        #expect(cluster[candidate].status.last < entry)

        // Those without the entry would elect it now; then one of them gets the entry, which is committed.
        cluster.drops = { _, from, to in from == leader || from == voter && to == candidate }
        cluster.turn(cluster[candidate], [.linkDown(leader)])
        #expect(cluster.run(within: .milliseconds(5)) { cluster[candidate].status.role == .candidate })
        cluster.deliver(try #require(missing), from: leader, to: late)
        cluster.run(for: .milliseconds(1))
        #expect(cluster[leader].status.commit == entry.index)
        for answer in answers { cluster.deliver(answer, from: voter, to: candidate) }
        cluster.run(for: .milliseconds(1))
        #expect(cluster[candidate].status.role != .leader)
        cluster.drops = { _, _, _ in false }
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster.members.allSatisfy { $0.applied.contains { $0.id == entry } })
    }

    @Test func `a learner votes when asked and never asks (C8)`() {
        var lone = LoneNode(configuration: Configuration(voters: [ada, bob], learners: [me]))
        #expect(lone.node.nextDeadline == .distantFuture)
        let vote = lone.receive(.requestVote(RequestVote(term: Term(1), last: .zero, isTransfer: false)))
        #expect(vote.voteResponses[0].response.isGranted)
        _ = lone.wait(.seconds(9))
        #expect(lone.node.status.role == .follower)
    }

    @Test func `a node outside with a newer term does not topple a leader that is heard (C7)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        let term = cluster[leader].status.term
        for node in cluster.ids {
            cluster.deliver(
                .requestVote(RequestVote(term: Term(99), last: id(98, 99), isTransfer: false)), from: NodeID(9),
                to: node)
        }
        cluster.run(for: .seconds(1))
        #expect(cluster.leader == leader)
        #expect(cluster[leader].status.term == term)
    }

    @Test func `both halves of a joint configuration must vote (§6)`() {
        let joint = Configuration(voters: [me, ada, bob], outgoing: [me, NodeID(4), NodeID(5)])
        var lone = LoneNode(configuration: joint)
        let round = lone.loseLeader().preVoteRequests[0].round
        _ = lone.receive(.preVoteResponse(PreVoteResponse(term: .zero, isGranted: true, round: round)), from: ada)
        #expect(lone.node.status.role == .preCandidate)
        _ = lone.receive(
            .preVoteResponse(PreVoteResponse(term: .zero, isGranted: true, round: round)), from: NodeID(4))
        #expect(lone.node.status.role == .candidate)
    }

    // MARK: Check-quorum (dissertation §6.2)

    @Test func `a leader that hears no quorum for an election timeout steps down`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.isolate(leader)
        let start = cluster.now
        #expect(cluster.run { cluster[leader].status.role != .leader })
        #expect(cluster.now - start <= .milliseconds(151))
        #expect(cluster[leader].roles.contains { $0.reason == .quorumLost })
    }

    @Test func `a leader that hears one of two followers leads on`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.crash(cluster.followers(of: leader)[0])
        cluster.run(for: .seconds(2))
        #expect(cluster.leader == leader)
    }
}
