import EsperTypes
import RaftCore
import Testing

/// Raft §6, dissertation §4: configurations are in force from the moment they are appended.
@Suite struct JointConfigurationTests {
    let me = LoneNode.me
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    private func configurationEntry(_ term: UInt64, _ index: UInt64, _ configuration: Configuration) -> Entry {
        Entry(id: id(term, index), kind: .configuration, payload: configuration.encoded())
    }

    @Test func `a configuration is in force when it is appended (C31)`() {
        var lone = LoneNode()
        let next = Configuration(voters: [me, ada, bob, NodeID(4)])
        let effects = lone.receive(append(term: 1, [configurationEntry(1, 1, next)]))
        #expect(effects.contains(.configurationChanged(next, at: LogIndex(1))))
        #expect(lone.node.status.configuration == next)
        #expect(lone.node.status.commit == .zero)
    }

    @Test func `cutting off several configurations brings back the one before them (C33)`() {
        let first = Configuration(voters: [me, ada, bob])
        let second = Configuration(voters: [me, ada, bob, NodeID(4)])
        let third = Configuration(voters: [me, ada, bob, NodeID(4)], learners: [NodeID(5)])
        var lone = LoneNode(
            configuration: first, hardState: HardState(term: Term(1)),
            entries: [entry(1, 1), configurationEntry(1, 2, second), entry(1, 3), configurationEntry(1, 4, third)])
        #expect(lone.node.status.configuration == third)
        let effects = lone.receive(append(term: 2, previous: id(1, 1), [entry(2, 2)]))
        #expect(effects.contains(.configurationChanged(first, at: .zero)))
        #expect(lone.node.status.configuration == first)
        #expect(lone.node.status.configurationIndex == .zero)
    }

    @Test func `compaction keeps the configuration in force`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        let next = Configuration(voters: cluster.ids, learners: [])
        cluster.force(next, on: leader)
        let index = cluster[leader].status.configurationIndex
        cluster.propose(5, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        let descriptor = cluster.takeSnapshot(on: leader)
        #expect(descriptor.configurationIndex == index)
        #expect(cluster[leader].status.configurationIndex == index)
    }

    @Test func `a joint configuration commits with both majorities (§6)`() {
        let joint = Configuration(voters: [me, ada, bob], outgoing: [me, NodeID(4), NodeID(5)])
        var lone = LoneNode(configuration: joint)
        let elected = lone.becomeLeader(votes: [ada, NodeID(4)])
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        _ = lone.acknowledge(LogIndex(1), from: bob, in: elected)
        #expect(lone.node.status.commit == .zero)
        _ = lone.acknowledge(LogIndex(1), from: NodeID(5), in: elected)
        #expect(lone.node.status.commit == LogIndex(1))
    }

    @Test func `a leader outside the voters does not count itself`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let others = cluster.followers(of: leader)
        cluster.force(Configuration(voters: others), on: leader)
        cluster.crash(others[0])
        let before = cluster[leader].status.commit
        cluster.run(for: .milliseconds(100))
        #expect(cluster[leader].status.commit == before)
    }

    @Test func `a learner receives the log, is not counted and cannot be handed leadership`() {
        let configuration = Configuration(voters: [NodeID(1), NodeID(2)], learners: [NodeID(3)])
        let cluster = Cluster(3, configuration: configuration)
        let leader = cluster.elect()
        cluster.propose(5, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[NodeID(3)].appliedIndex == cluster[leader].appliedIndex)
        let voter = cluster.followers(of: leader).first { $0 != NodeID(3) }!
        cluster.crash(voter)
        let token = cluster.propose(on: leader)[0]
        cluster.run(for: .milliseconds(100))
        #expect(cluster[leader].appliedIndex < cluster[leader].appended[token]!.index)
    }

    @Test func `a cluster grows through a joint configuration`() {
        let start = Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)])
        let cluster = Cluster(5, configuration: start)
        let leader = cluster.elect()
        cluster.propose(10, on: leader)
        let joint = Configuration(voters: cluster.ids, outgoing: start.incoming, autoLeave: true)
        cluster.force(joint, on: leader)
        #expect(cluster.run { cluster.hasConverged && !cluster[leader].status.configuration.isJoint })
        for id in cluster.ids { #expect(cluster[id].status.configuration == Configuration(voters: cluster.ids)) }
        // Two of five may now fail.
        for id in start.incoming.prefix(2) { cluster.crash(id) }
        cluster.propose(on: cluster.elect())
        #expect(cluster.run { cluster.hasConverged })
    }
}
