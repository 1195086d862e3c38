import EsperTypes
import RaftCore
import Testing

/// The ways in which changes of membership went wrong elsewhere, each with its source.
@Suite struct MembershipSafetyTests {
    let me = LoneNode.me
    let ada = LoneNode.ada
    let bob = LoneNode.bob
    let cyd = NodeID(4)

    private func configurationEntry(_ term: UInt64, _ index: UInt64, _ configuration: Configuration) -> Entry {
        Entry(id: id(term, index), kind: .configuration, payload: configuration.encoded())
    }

    private func outcomes(_ effects: [Effect]) -> [ConfigurationOutcome] {
        effects.compactMap { if case .configurationChange(_, let outcome) = $0 { outcome } else { nil } }
    }

    @Test func `no change before an entry of the leader's own term is committed (Ongaro, raft-dev 2015; C30)`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        let request = Event.changeConfiguration(token: 1, .change([.addLearner(cyd)], autoLeave: true))
        #expect(outcomes(lone.turn(request)) == [.refused(.termNotCommitted)])
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        #expect(outcomes(lone.turn(request)) == [.accepted(id(1, 2))])
    }

    @Test func `one that leaves and would need a snapshot is let go, and no deadline stays behind`() {
        let options = RaftOptions()
        var lone = LoneNode(configuration: Configuration(voters: [me, ada, bob], learners: [cyd]), options: options)
        let elected = lone.becomeLeader()
        #expect(!elected.appends(to: cyd).isEmpty)
        _ = lone.sync()
        for voter in [ada, bob] { _ = lone.acknowledge(LogIndex(1), from: voter, in: elected) }
        let proposed = lone.turn(.propose((1...3).map { Proposal(token: $0, payload: [1]) }))
        _ = lone.sync()
        for voter in [ada, bob] { _ = lone.acknowledge(LogIndex(4), from: voter, in: proposed) }
        // It has answered nothing so far.
        let removal = lone.turn(.changeConfiguration(token: 1, .change([.remove(cyd)], autoLeave: true)))
        _ = lone.sync()
        for voter in [ada, bob] { _ = lone.acknowledge(LogIndex(5), from: voter, in: removal) }
        #expect(lone.node.status.commit == LogIndex(5))
        let snapshot = SnapshotDescriptor(
            id: id(1, 5), configuration: Configuration(voters: [me, ada, bob]), configurationIndex: LogIndex(5),
            sizeBytes: 1, checksum: 0)
        _ = lone.turn(
            .applied(through: LogIndex(5)), .snapshotTaken(snapshot, retainFrom: LogIndex(6)))
        #expect(lone.node.status.first == LogIndex(6))
        for _ in 0..<4 {
            let effects = lone.wait(options.heartbeatInterval)
            #expect(effects.appends(to: cyd).isEmpty)
            #expect(lone.node.status.role == .leader)
            #expect(lone.node.nextDeadline > lone.now)
        }
    }

    @Test func `joint consensus is not left before both majorities have it (camunda #60086, C32)`() {
        let joint = Configuration(voters: [me, ada, bob], outgoing: [me, cyd, NodeID(5)], autoLeave: true)
        var lone = LoneNode(
            configuration: Configuration(voters: [me, cyd, NodeID(5)]), hardState: HardState(term: Term(1)),
            entries: [configurationEntry(1, 1, joint)])
        let elected = lone.becomeLeader(votes: [ada, cyd])
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        _ = lone.acknowledge(LogIndex(2), from: bob, in: elected)
        #expect(lone.node.status.configuration == joint)
        let committed = lone.acknowledge(LogIndex(2), from: cyd, in: elected)
        #expect(lone.node.status.commit == LogIndex(2))
        #expect(committed.contains(.configurationChanged(Configuration(voters: [me, ada, bob]), at: LogIndex(3))))
    }

    @Test func `a new leader finishes the joint configuration that it finds`() {
        let cluster = Cluster(4, configuration: Configuration(voters: [me, ada, bob], learners: [cyd]))
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster.change([.addVoter(cyd)], on: leader)
        // The joint entry gets around; word of its commit does not come back.
        cluster.drops = { message, _, to in
            if case .appendEntriesResponse = message { to == leader } else { false }
        }
        cluster.run(for: .milliseconds(5))
        #expect(cluster[cyd].status.configuration.isJoint)
        cluster.crash(leader)
        cluster.drops = { _, _, _ in false }
        let next = cluster.elect()
        #expect(cluster.run { cluster[next].status.configuration == Configuration(voters: cluster.ids) })
        #expect(cluster.run { !cluster[next].status.isConfigurationPending })
    }

    @Test func `a leader does not count itself for its own removal, hands over, and steps down (§4.2.2, etcd #11038)`()
    {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let before = cluster[leader].status.term
        let start = cluster.now
        let token = cluster.change([.remove(leader)], on: leader)
        #expect(cluster.run { cluster.leader.map { $0 != leader } ?? false })
        #expect(cluster.now - start < .milliseconds(20))
        let next = cluster.leader!
        #expect(cluster[next].status.term == before.next)
        #expect(cluster[next].roles.contains { $0.reason == .transfer })
        let others = cluster.followers(of: leader)
        guard case .done(Configuration(voters: others), _)? = cluster[leader].outcomes[token]?.last else {
            Issue.record("\(cluster[leader].outcomes)")
            return
        }
        cluster.run(for: .seconds(3))
        #expect(cluster[leader].status.role == .follower)
        #expect(cluster[next].status.term == before.next)
    }

    @Test func `a removal needs the majority of those who stay`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        _ = lone.acknowledge(LogIndex(1), from: bob, in: elected)
        var effects = lone.turn(.changeConfiguration(token: 1, .change([.remove(me)], autoLeave: true)))
        effects += lone.sync()
        effects += lone.acknowledge(LogIndex(2), from: ada, in: effects)
        #expect(lone.node.status.commit == LogIndex(1))
        effects += lone.acknowledge(LogIndex(2), from: bob, in: effects)
        #expect(lone.node.status.commit == LogIndex(2))
        effects += lone.sync()
        effects += lone.acknowledge(LogIndex(3), from: ada, in: effects)
        // Two of the old three have it, this leader among them; of the new two only one.
        #expect(lone.node.status.commit == LogIndex(2))
        _ = lone.acknowledge(LogIndex(3), from: bob, in: effects)
        #expect(lone.node.status.commit == LogIndex(3))
        #expect(lone.node.status.transferTarget == ada)
        // Nobody takes over: it steps down all the same.
        _ = lone.wait(.milliseconds(150))
        #expect(lone.node.status.role == .follower)
        _ = lone.wait(.seconds(10))
        #expect(lone.node.status.role == .follower && lone.node.nextDeadline == .distantFuture)
    }

    @Test func `a node that is removed hears of it, stops campaigning and refuses reads`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let removed = cluster.followers(of: leader)[0]
        cluster.change([.remove(removed)], on: leader)
        cluster.run(for: .milliseconds(50))
        #expect(!cluster[removed].status.configuration.contains(removed))
        #expect(!cluster[removed].status.isConfigurationPending)
        cluster[removed].roles = []
        cluster.run(for: .seconds(3))
        #expect(cluster[removed].roles.isEmpty)
        let token = cluster.read(on: removed)
        #expect(cluster[removed].refused[token] == .notLeader(hint: leader))
    }

    @Test func `a removed node that does not know disturbs nobody (hashicorp #524, C7)`() {
        let cluster = Cluster(4)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let removed = cluster.followers(of: leader)[0]
        cluster.isolate(removed)
        cluster.change([.remove(removed)], on: leader)
        cluster.run(for: .seconds(1))
        let term = cluster[leader].status.term
        cluster.heal()
        cluster.run(for: .seconds(5))
        #expect(cluster[removed].status.configuration.contains(removed))
        #expect(cluster[removed].roles.contains { $0.role == .preCandidate })
        #expect(cluster.leader == leader && cluster[leader].status.term == term)
    }

    @Test func `whoever holds the longest log leads although that log takes its vote away (§4.2.2)`() {
        // Joint (1 2 4)&&(1 2 3); the old leader 3 appended the end of it and crashed, 1 is down for good: 2 and 4 are a
        // majority of the new half, 2 and 3 one of the old, and 3 refuses the shorter log of 2.
        let joint = Configuration(voters: [me, ada, cyd], outgoing: [me, ada, bob], autoLeave: true)
        let left = Configuration(voters: [me, ada, cyd])
        let start = RestoredState(
            hardState: HardState(term: Term(1)), configuration: Configuration(voters: [me, ada, bob]),
            entries: [configurationEntry(1, 1, joint)])
        var longer = start
        longer.entries.append(configurationEntry(1, 2, left))
        let cluster = Cluster(4, restored: [start, start, longer, start])
        cluster.crash(me)
        #expect(
            cluster.run(within: .seconds(10)) {
                cluster.leader.map { cluster[$0].status.commit > LogIndex(2) } ?? false
            })
        #expect(cluster.run(within: .seconds(10)) { cluster.leader == ada || cluster.leader == cyd })
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[ada].status.configuration == left)
    }

    @Test func `what a member said before it was removed counts for nothing when it is back (openraft #584, C14)`() {
        let cluster = Cluster(4)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let other = cluster.followers(of: leader)[0]
        var answers: [Message] = []
        cluster.tap = { message, from, _ in
            if case .appendEntriesResponse = message, from == other { answers.append(message) }
        }
        cluster.propose(3, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        cluster.change([.remove(other)], on: leader)
        #expect(cluster.run { !cluster[leader].status.configuration.contains(other) && cluster.hasConverged })
        cluster.isolate(other)
        cluster.change([.addLearner(other)], on: leader)
        for answer in answers { cluster.deliver(answer, from: other, to: leader) }
        #expect(cluster[leader].status.peers.first { $0.id == other }?.match == .zero)
    }

    @Test func `a snapshot from before the configuration in force leaves it in force (openraft #1808, C36)`() {
        let next = Configuration(voters: [me, ada, bob, cyd])
        var lone = LoneNode(
            hardState: HardState(term: Term(1)), entries: [entry(1, 1), entry(1, 2), configurationEntry(1, 3, next)])
        let snapshot = SnapshotDescriptor(
            id: id(1, 2), configuration: Configuration(voters: [me, ada, bob]), sizeBytes: 1, checksum: 0)
        _ = lone.receive(
            .installSnapshot(
                InstallSnapshot(
                    term: Term(2), session: SessionNonce(1), descriptor: snapshot, offset: 0, bytes: [1], isLast: true))
        )
        #expect(lone.node.status.configuration == next)
        #expect(lone.node.status.commit == LogIndex(2))
    }

    @Test func `a snapshot in place of a log brings its configuration (C36)`() {
        let stale = Configuration(voters: [me, ada, bob, cyd])
        let newer = Configuration(voters: [me, ada], learners: [bob])
        var lone = LoneNode(
            hardState: HardState(term: Term(1)), entries: [configurationEntry(1, 1, stale), entry(1, 2)])
        let snapshot = SnapshotDescriptor(
            id: id(2, 7), configuration: newer, configurationIndex: LogIndex(5), sizeBytes: 1, checksum: 0)
        _ = lone.receive(
            .installSnapshot(
                InstallSnapshot(
                    term: Term(2), session: SessionNonce(1), descriptor: snapshot, offset: 0, bytes: [1], isLast: true))
        )
        let effects = lone.turn(.snapshotInstalled(snapshot))
        #expect(effects.contains(.configurationChanged(newer, at: LogIndex(5))))
        #expect(lone.node.status.configuration == newer)
    }

    @Test func `a node that does not know who voted at an index makes no snapshot there`() {
        let cluster = Cluster(4, configuration: Configuration(voters: [me, ada, bob]))
        let leader = cluster.elect()
        cluster.propose(3, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        cluster.change([.addLearner(cyd)], on: leader)
        #expect(cluster.run { cluster[cyd].appliedIndex == cluster[leader].status.last.index })
        let index = cluster[cyd].status.configurationIndex
        #expect(cluster[cyd].node.snapshotBasis(at: index.previous) == nil)
        #expect(cluster[cyd].node.snapshotBasis(at: index)?.configurationIndex == index)
        #expect(cluster[leader].node.snapshotBasis(at: index.previous)?.configuration.incoming == [me, ada, bob])
    }

    @Test func `a configuration without voters in an entry is nonsense, and dropped`() {
        var lone = LoneNode()
        let effects = lone.receive(append(term: 1, [configurationEntry(1, 1, .none)]))
        #expect(effects.isEmpty && lone.node.status.last == .zero)
    }

    @Test func `leadership is never handed to a voter that leaves (openraft #1805, C38)`() {
        let joint = Configuration(voters: [me, ada, cyd], outgoing: [me, ada, bob])
        var lone = LoneNode(configuration: joint)
        _ = lone.becomeLeader(votes: [ada])
        #expect(lone.turn(.transferLeadership(to: bob)).contains(.transferFailed(to: bob, .noTarget)))
        #expect(lone.turn(.transferLeadership(to: cyd)).isEmpty)
        #expect(lone.node.status.transferTarget == cyd)
    }
}
