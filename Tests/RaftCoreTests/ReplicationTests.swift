import EsperTypes
import RaftCore
import Testing

/// Raft §5.3, §5.4.2; dissertation §10.2.1.
@Suite struct ReplicationTests {
    let me = LoneNode.me
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    // MARK: The leader

    @Test func `a term begins with a no-op (§8)`() {
        var lone = LoneNode(hardState: HardState(term: Term(3)), entries: [entry(1, 1), entry(3, 2)])
        let effects = lone.becomeLeader()
        let noop = Entry(id: id(4, 3), kind: .noop)
        #expect(effects.appends(to: ada).map(\.entries) == [[noop]])
        #expect(effects.appends(to: ada)[0].previous == id(3, 2))
        #expect(effects.batches.last?.entries == [noop])
    }

    @Test func `one turn makes one batch and one append for each follower`() {
        var lone = LoneNode()
        let effects = lone.becomeLeader()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: effects)
        _ = lone.acknowledge(LogIndex(1), from: bob, in: effects)
        let turn = lone.turn(
            .propose([Proposal(token: 1, payload: [1])]), .propose([Proposal(token: 2, payload: [2])]),
            .propose([Proposal(token: 3, payload: [3])]))
        #expect(turn.batches.map(\.entries.count) == [3])
        #expect(turn.appends(to: ada).map(\.entries.count) == [3])
        #expect(turn.appends(to: bob).map(\.entries.count) == [3])
    }

    @Test func `appends leave without waiting for the leader's own disk (dissertation §10.2.1)`() {
        var lone = LoneNode()
        let effects = lone.becomeLeader()
        for send in effects.sends {
            if case .appendEntries = send.message { #expect(send.after == nil) }
        }
        // Both followers have it on disk: committed, though not applied here before our own disk has it.
        _ = lone.acknowledge(LogIndex(1), from: ada, in: effects)
        let committed = lone.acknowledge(LogIndex(1), from: bob, in: effects)
        #expect(lone.node.status.commit == LogIndex(1))
        #expect(committed.applied.isEmpty)
        #expect(lone.sync().applied.map(\.index) == [LogIndex(1)])
    }

    @Test func `the leader counts itself only as far as its disk is`() {
        var lone = LoneNode()
        let effects = lone.becomeLeader()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: effects)
        #expect(lone.node.status.commit == .zero)
        _ = lone.sync()
        #expect(lone.node.status.commit == LogIndex(1))
    }

    @Test func `a single voter applies nothing before it is on disk (C18)`() {
        var lone = LoneNode(voters: [me])
        _ = lone.turn(.deadlineReached)
        #expect(lone.sync().applied.isEmpty)
        let effects = lone.turn(.propose([Proposal(token: 1, payload: [])]))
        #expect(effects.applied.isEmpty)
        #expect(lone.sync().applied.map(\.index) == [LogIndex(1), LogIndex(2)])
    }

    /// Figure 8: a majority holds an entry of an older term; counting it would be wrong.
    @Test func `entries of older terms are committed only with one of the own term (§5.4.2, C10)`() {
        var lone = LoneNode(hardState: HardState(term: Term(2)), entries: [entry(1, 1), entry(2, 2)])
        let effects = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: effects)
        _ = lone.acknowledge(LogIndex(2), from: bob, in: effects)
        #expect(lone.node.status.commit == .zero)
        _ = lone.acknowledge(LogIndex(3), from: bob, in: effects)
        #expect(lone.node.status.commit == LogIndex(3))
    }

    @Test func `a proposal is applied once by everyone, in order`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        let tokens = cluster.propose(100, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        for member in cluster.members {
            let commands = member.applied.filter { $0.isCommand }
            #expect(commands.map { $0.payload[0] } == tokens.map { UInt8(truncatingIfNeeded: $0) })
        }
    }

    @Test func `a follower hears of a commit well before the next heartbeat, and at once of what it proposed itself`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster.run(for: .milliseconds(5))
        var start = cluster.now
        cluster.propose(on: leader)
        #expect(cluster.run { cluster.hasConverged })
        // There, on disk, back, there: three delays and a sync. Word of a commit alone waits a moment for company.
        #expect(cluster.now - start <= .milliseconds(2) + RaftOptions().commitNoticeDelay)
        #expect(cluster.now - start > RaftOptions().commitNoticeDelay)

        let origin = cluster.followers(of: leader)[0]
        start = cluster.now
        cluster.propose(on: leader, from: origin)
        let target = cluster[leader].status.last.index
        #expect(cluster.run { cluster[origin].status.applied >= target })
        #expect(cluster.now - start <= .milliseconds(2))
    }

    @Test func `the next append carries the commit, so that no word of it alone is sent`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let first = lone.turn(.propose([Proposal(token: 1, payload: [1])]))
        _ = lone.sync()
        let committed = lone.acknowledge(LogIndex(2), from: ada, in: first)
        #expect(lone.node.status.commit == LogIndex(2))
        #expect(committed.appends(to: ada).isEmpty)
        let next = lone.turn(.propose([Proposal(token: 2, payload: [2])])).appends(to: ada)
        #expect(next.map(\.commit) == [LogIndex(2)])
        #expect(next.map(\.entries.count) == [1])
    }

    @Test func `a follower that does not lead refuses and names the leader`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let follower = cluster.followers(of: leader)[0]
        let token = cluster.propose(on: follower)[0]
        #expect(cluster[follower].refused[token] == .notLeader(hint: leader))
    }

    // MARK: Pipelining and flow control

    @Test func `a new leader probes with one append, then lets entries flow`() {
        var options = RaftOptions()
        options.maximumAppendBytes = 1
        var lone = LoneNode(options: options)
        let elected = lone.becomeLeader()
        #expect(lone.turn(.propose([Proposal(token: 1, payload: [1])])).appends(to: ada).isEmpty)
        let flowing = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        #expect(lone.node.status.peers[0].state == .replicate)
        #expect(flowing.appends(to: ada).map { $0.entries.map(\.index) } == [[LogIndex(2)]])
        // The next does not wait for the answer.
        let ahead = lone.turn(.propose([Proposal(token: 2, payload: [2])]))
        #expect(ahead.appends(to: ada).map { $0.entries.map(\.index) } == [[LogIndex(3)]])
    }

    @Test func `no more appends are in flight than allowed, and an answer makes room for what has gathered`() {
        var options = RaftOptions()
        options.maximumInFlightAppends = 2
        var lone = LoneNode(options: options)
        let elected = lone.becomeLeader()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        var last: [Effect] = []
        for token in 1...5 {
            let effects = lone.turn(.propose([Proposal(token: UInt64(token), payload: [0])]))
            if !effects.appends(to: ada).isEmpty { last = effects }
        }
        #expect(lone.node.status.peers[0].inFlightAppends == 2)
        #expect(lone.node.status.peers[0].next == LogIndex(4))
        let more = lone.acknowledge(LogIndex(2), from: ada, in: last)
        #expect(more.appends(to: ada).map { $0.entries.map(\.index) } == [[LogIndex(4), LogIndex(5), LogIndex(6)]])
    }

    @Test func `no more bytes are in flight than allowed`() {
        var options = RaftOptions()
        options.maximumAppendBytes = 100
        options.maximumInFlightBytes = 200
        options.maximumInFlightAppends = 100
        var lone = LoneNode(options: options)
        let elected = lone.becomeLeader()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let payload = [UInt8](repeating: 0, count: 60)
        let effects = lone.turn(.propose((0..<10).map { Proposal(token: $0, payload: payload) }))
        // 60 bytes each, one an append; four reach the bound.
        #expect(effects.appends(to: ada).count == 4)
        #expect(lone.node.status.peers[0].inFlightBytes == 240)
    }

    @Test func `an entry larger than an append travels alone`() {
        var options = RaftOptions()
        options.maximumAppendBytes = 10
        options.maximumInFlightBytes = 1000
        var lone = LoneNode(options: options)
        let elected = lone.becomeLeader()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let effects = lone.turn(
            .propose([Proposal(token: 1, payload: [1]), Proposal(token: 2, payload: [UInt8](repeating: 0, count: 50))]))
        #expect(effects.appends(to: ada).map(\.entries.count) == [1, 1])
    }

    @Test func `heartbeats are anchored at what the follower has, and never conflict (C16)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let lagging = cluster.followers(of: leader)[0]
        // Entries never reach it; heartbeats do.
        cluster.drops = { message, _, to in
            if case .appendEntries(let append) = message { to == lagging && !append.entries.isEmpty } else { false }
        }
        var conflicts = 0
        cluster.tap = { message, _, _ in
            if case .appendEntriesResponse(let response) = message, case .conflict = response.outcome { conflicts += 1 }
        }
        cluster.propose(10, on: leader)
        cluster.run(for: .milliseconds(20))
        #expect(conflicts == 0)
        cluster.run(for: .seconds(1))
        #expect(cluster.leader == leader)
        cluster.drops = { _, _, _ in false }
        #expect(cluster.run(within: .milliseconds(200)) { cluster.hasConverged })
    }

    @Test func `lost appends are noticed within half an election timeout and a heartbeat, and sent again`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster.drops = { message, _, _ in
            if case .appendEntries(let append) = message { !append.entries.isEmpty } else { false }
        }
        cluster.propose(3, on: leader)
        cluster.run(for: .milliseconds(1))
        cluster.drops = { _, _, _ in false }
        let options = RaftOptions()
        let limit = options.electionTimeout / 2 + options.heartbeatInterval + .milliseconds(5)
        #expect(cluster.run(within: limit) { cluster.hasConverged })
    }

    /// Reads and word of commits keep the leader talking to a follower, so that no heartbeat is ever due.
    @Test(arguments: [false, true])
    func `appends that are lost amid other messages are noticed too`(_ isProbe: Bool) {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let lagging = cluster.followers(of: leader)[0]
        cluster.drops = { message, _, to in
            if case .appendEntries(let append) = message { to == lagging && !append.entries.isEmpty } else { false }
        }
        if isProbe {
            cluster.propose(on: leader)
            cluster.turn(cluster[leader], [.linkDown(lagging), .linkUp(lagging)])
        }
        for _ in 0..<20 {
            cluster.propose(on: leader)
            cluster.run(for: .milliseconds(1))
        }
        #expect(cluster[lagging].status.last < cluster[leader].status.last)
        cluster.drops = { _, _, _ in false }
        let target = cluster[leader].status.last.index
        for _ in 0..<200 where cluster[lagging].status.applied < target {
            _ = cluster.read(on: leader)
            cluster.run(for: .milliseconds(1))
        }
        #expect(cluster[lagging].status.applied >= target)
    }

    /// Entries may have come whose answers were lost, and the follower may have looked for another leader meanwhile.
    @Test(arguments: 0..<3)
    func `a follower that was cut off comes back while the load goes on`(_ seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let cluster = Cluster(3)
        cluster.diskDelay = .microseconds(Int64.random(in: 100..<6000, using: &random))
        cluster.networkDelay = .microseconds(Int64.random(in: 20..<600, using: &random))
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let lagging = cluster.followers(of: leader)[0]
        func load(_ steps: Int) {
            for _ in 0..<steps {
                for _ in 0..<Int.random(in: 0..<3, using: &random) { cluster.propose(on: leader) }
                if Bool.random(using: &random) { _ = cluster.read(on: leader) }
                cluster.run(for: .microseconds(Int64.random(in: 10..<1000, using: &random)))
            }
        }
        for _ in 0..<3 {
            load(50)
            cluster.isolate(lagging)
            load(Int.random(in: 5..<400, using: &random))
            cluster.heal()
            guard cluster.leader == leader else { return }
            let target = cluster[leader].status.last.index
            load(400)
            guard cluster.leader == leader else { return }
            #expect(cluster[lagging].status.applied >= target, "\(cluster[leader].status) \(cluster[lagging].status)")
        }
    }

    @Test func `a follower with a slow disk is not sent the same entries again`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let slow = cluster.followers(of: leader)[0]
        cluster[slow].disk.isFrozen = true
        var sent = 0
        cluster.tap = { message, _, to in
            if case .appendEntries(let append) = message, to == slow { sent += append.entries.count }
        }
        cluster.propose(5, on: leader)
        cluster.run(for: .seconds(1))
        #expect(sent == 5)
        #expect(cluster.leader == leader)
        cluster[slow].disk.isFrozen = false
        #expect(cluster.run(within: .milliseconds(200)) { cluster.hasConverged })
    }

    // MARK: The follower

    @Test func `an append is refused without its predecessor (§5.3)`() {
        var lone = LoneNode(hardState: HardState(term: Term(2)), entries: [entry(1, 1), entry(1, 2)])
        let effects = lone.receive(append(term: 2, previous: id(2, 7), [entry(2, 8)]))
        #expect(effects.appendResponses[0].response.outcome == .conflict(previous: id(2, 7), hint: id(1, 2)))
        #expect(lone.node.status.last == id(1, 2))
    }

    @Test func `a conflicting suffix is replaced (§5.3)`() {
        var lone = LoneNode(
            hardState: HardState(term: Term(2)), entries: [entry(1, 1), entry(1, 2), entry(1, 3), entry(1, 4)])
        let effects = lone.receive(append(term: 3, previous: id(1, 2), [entry(3, 3)]))
        #expect(effects.batches[0].truncateFrom == LogIndex(3))
        #expect(effects.batches[0].entries == [entry(3, 3)])
        #expect(lone.node.status.last == id(3, 3))
    }

    @Test func `an old append, late or twice, does not cut off what came after it (C13)`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1, [entry(1, 1), entry(1, 2), entry(1, 3)], commit: 3))
        let effects = lone.receive(append(term: 1, [entry(1, 1)]))
        #expect(effects.batches.isEmpty)
        #expect(lone.node.status.last == id(1, 3))
    }

    @Test func `one acknowledgement a turn, after the write it depends on`() {
        var lone = LoneNode()
        let effects = lone.turn(
            .received(append(term: 1, [entry(1, 1)]), from: ada),
            .received(append(term: 1, previous: id(1, 1), [entry(1, 2), entry(1, 3)]), from: ada))
        #expect(effects.batches.count == 1)
        #expect(effects.appendResponses.count == 1)
        #expect(effects.appendResponses[0].after == effects.batches[0].sequence)
        #expect(
            effects.appendResponses[0].response.outcome == .matched(durable: LogIndex(3), received: LogIndex(3)))
    }

    @Test func `a heartbeat during a slow write is answered at once, vouching only for what is durable`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1, [entry(1, 1)]))
        _ = lone.sync()
        _ = lone.receive(append(term: 1, previous: id(1, 1), [entry(1, 2)]))
        let answers = lone.receive(append(term: 1, previous: id(1, 1))).appendResponses
        #expect(answers.count == 1)
        #expect(answers[0].after == nil)
        #expect(answers[0].response.outcome == .matched(durable: LogIndex(1), received: LogIndex(2)))
    }

    @Test func `a deposed leader is told the newer term`() {
        var lone = LoneNode(hardState: HardState(term: Term(5)))
        let answer = lone.receive(append(term: 4)).appendResponses[0].response
        #expect(answer.term == Term(5))
        #expect(answer.outcome == .staleTerm)
    }

    @Test func `a commit index beyond what is known to match is not believed`() {
        // Entries of an older term that may differ from the leader's.
        var lone = LoneNode(hardState: HardState(term: Term(1)), entries: [entry(1, 1), entry(1, 2)])
        _ = lone.receive(append(term: 2, commit: 2))
        #expect(lone.node.status.commit == .zero)
        _ = lone.receive(append(term: 2, previous: id(1, 1), commit: 2))
        #expect(lone.node.status.commit == LogIndex(1))
    }

    @Test func `nonsense is dropped without a trace`() {
        var lone = LoneNode()
        let gap = append(term: 1, [entry(1, 2)])
        let fromTheFuture = append(term: 1, [entry(2, 1)])
        let badConfiguration = append(
            term: 1, [Entry(id: id(1, 1), kind: .configuration, payload: [99, 1])])
        let oversized = append(
            term: 1, [entry(1, 1, [UInt8](repeating: 0, count: Limits.entryPayloadBytes + 1))])
        for message in [gap, fromTheFuture, badConfiguration, oversized] {
            #expect(lone.receive(message).isEmpty)
            #expect(lone.node.status.last == .zero)
        }
    }

    @Test func `a peer that contradicts what is committed is not obeyed`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1, [entry(1, 1), entry(1, 2)], commit: 2))
        _ = lone.receive(append(term: 2, previous: id(1, 1), [entry(2, 2)]), from: bob)
        #expect(lone.node.status.last == id(1, 2))
    }

    // MARK: Back-off (§5.3, last paragraph)

    @Test(
        arguments: [
            // Leader's terms, follower's terms, most probes that may be refused.
            ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 4, 4, 5, 5, 6, 6], 1),
            ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 4], 1),
            ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6], 1),
            ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], 1),
            ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 4, 4, 4, 4], 2),
            ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], 2),
            (Array(repeating: 9, count: 300), [1] + Array(repeating: 5, count: 400), 2),
        ] as [([UInt64], [UInt64], Int)])
    func `logs of figure 7 agree after a round trip for each differing term`(
        leaderTerms: [UInt64], followerTerms: [UInt64], rounds: Int
    ) {
        func restored(_ terms: [UInt64]) -> RestoredState {
            RestoredState(
                hardState: HardState(term: Term(20)),
                configuration: Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)]),
                entries: terms.enumerated().map { entry($1, UInt64($0 + 1)) })
        }
        let cluster = Cluster(
            3, restored: [restored(leaderTerms), restored(followerTerms), restored(leaderTerms)])
        // Nodes 1 and 3 elect node 1 before node 2 joins.
        cluster.isolate(NodeID(2))
        cluster.drops = { message, from, _ in
            if case .preVoteRequest = message { from == NodeID(3) } else { false }
        }
        #expect(cluster.elect() == NodeID(1))
        var refused = 0
        cluster.tap = { message, _, _ in
            if case .appendEntriesResponse(let response) = message, case .conflict = response.outcome { refused += 1 }
        }
        // It may not campaign with its newer tail either.
        cluster.drops = { message, from, _ in
            if case .preVoteRequest = message { from == NodeID(2) } else { false }
        }
        cluster.heal()
        #expect(cluster.run { cluster.hasConverged })
        #expect(refused <= rounds)
    }

    // MARK: Applying ahead

    @Test func `a driver may apply ahead what is committed, durable and still in the log, and is handed what follows`()
    {
        var lone = LoneNode(
            hardState: HardState(term: Term(1)), entries: [entry(1, 1), entry(1, 2), entry(1, 3), entry(1, 4)])
        #expect(!lone.node.mayApplyAhead(through: id(1, 4)), "it may not be committed")
        _ = lone.turn(
            .received(append(term: 2, previous: id(1, 2), [entry(2, 3), entry(2, 4), entry(2, 5)]), from: ada))
        _ = lone.sync()
        var effects: [Effect] = []
        lone.node.step(
            .received(append(term: 2, previous: id(2, 5), commit: 5), from: ada), at: lone.now, into: &effects)
        #expect(!lone.node.mayApplyAhead(through: id(1, 4)), "a later leader has replaced it")
        #expect(lone.node.mayApplyAhead(through: id(2, 4)))
        #expect(lone.turn(.applied(through: LogIndex(4))).applied == [entry(2, 5)])
        #expect(!lone.node.mayApplyAhead(through: id(2, 4)), "more was handed over")
    }

    // MARK: Sessions and completions

    @Test func `an answer of an earlier replication session does not count (C14)`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        // The link breaks and comes back: a new session.
        let again = lone.turn(.linkDown(ada), .linkUp(ada))
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        #expect(lone.node.status.commit == .zero)
        _ = lone.acknowledge(LogIndex(1), from: ada, in: again)
        #expect(lone.node.status.commit == LogIndex(1))
    }

    @Test func `an answer of an earlier term does not count (C14)`() {
        var lone = LoneNode()
        let first = lone.becomeLeader()
        _ = lone.receive(append(term: 2), from: bob)
        _ = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: first)
        #expect(lone.node.status.peers[0].match == .zero)
    }

    @Test func `a completion vouches only for the entries it wrote, not for those that replaced them (C17)`() {
        var lone = LoneNode()
        let first = lone.receive(append(term: 1, [entry(1, 1), entry(1, 2), entry(1, 3)])).batches[0].sequence
        let second = lone.receive(append(term: 2, previous: id(1, 1), [entry(2, 2)]), from: bob).batches[0].sequence
        _ = lone.receive(append(term: 3, previous: id(1, 1), [entry(1, 2), entry(1, 3)]), from: ada)
        _ = lone.turn(.persisted(through: first))
        // 1.2 and 1.3 stand in the log again, but the write that would leave them on disk is the third.
        #expect(lone.node.status.durable == LogIndex(1))
        _ = lone.turn(.persisted(through: second))
        #expect(lone.node.status.durable == LogIndex(1))
        _ = lone.sync()
        #expect(lone.node.status.durable == LogIndex(3))
    }

    @Test func `a restarted follower vouches for all of its durable log (C53)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.propose(50, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        let follower = cluster.followers(of: leader)[0]
        cluster.crash(follower)
        cluster.restart(follower)
        #expect(cluster[follower].status.durable == cluster[leader].status.last.index)
        var sent = 0
        cluster.tap = { message, _, to in
            if case .appendEntries(let append) = message, to == follower { sent += append.entries.count }
        }
        #expect(cluster.run { cluster.hasConverged })
        #expect(sent == 0)
    }

    @Test func `a leader that loses office between append and quorum reports nothing as applied (C11)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster.isolate(leader)
        let token = cluster.propose(on: leader)[0]
        let lost = cluster[leader].appended[token]!
        #expect(cluster.run { cluster[leader].status.role != .leader })
        _ = cluster.elect()
        cluster.heal()
        cluster.propose(on: cluster.elect())
        #expect(cluster.run { cluster.hasConverged })
        #expect(!cluster[leader].applied.contains { $0.id == lost })
    }
}
