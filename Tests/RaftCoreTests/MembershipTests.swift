import EsperTypes
import RaftCore
import Testing

/// Dissertation §4: changing who votes, while serving.
@Suite struct MembershipTests {
    private let founders = [NodeID(1), NodeID(2), NodeID(3)]

    /// Three founders and some nodes that know nobody.
    private func cluster(_ size: Int = 5, options: RaftOptions = RaftOptions()) -> (Cluster, NodeID) {
        let cluster = Cluster(size, configuration: Configuration(voters: founders), options: options)
        let leader = cluster.elect()
        cluster.propose(10, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        return (cluster, leader)
    }

    private func carryOut(_ changes: [ConfigurationChange], on cluster: Cluster) -> Configuration {
        let leader = cluster.leader!
        let token = cluster.change(changes, on: leader)
        #expect(cluster.run { cluster[leader].outcomes[token]?.count == 2 }, "\(cluster[leader].outcomes)")
        guard case .done(let configuration, _)? = cluster[leader].outcomes[token]?.last else {
            Issue.record("\(changes): \(cluster[leader].outcomes[token] as Any)")
            return cluster[leader].status.configuration
        }
        return configuration
    }

    // MARK: Learners

    @Test func `a node that joins as a learner gets the log, and nobody's quorum changes`() {
        let (cluster, leader) = cluster()
        let configuration = carryOut([.addLearner(NodeID(4))], on: cluster)
        #expect(configuration == Configuration(voters: founders, learners: [NodeID(4)]))
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[NodeID(4)].appliedIndex == cluster[leader].appliedIndex)
        #expect(cluster[NodeID(4)].status.configuration == configuration)
    }

    @Test func `a node that knows nobody, and a learner, never campaign`() {
        let (cluster, _) = cluster()
        _ = carryOut([.addLearner(NodeID(4))], on: cluster)
        for id in founders { cluster.crash(id) }
        cluster.run(for: .seconds(3))
        for id in [NodeID(4), NodeID(5)] { #expect(cluster[id].roles.allSatisfy { $0.role == .follower }) }
    }

    @Test func `a learner far behind gets a snapshot, also when the log is compacted to its tip (openraft #1828, C19)`()
    {
        let (cluster, leader) = cluster()
        cluster.takeSnapshot(on: leader)
        #expect(cluster[leader].status.first > cluster[leader].status.last.index)
        let configuration = carryOut([.addLearner(NodeID(4))], on: cluster)
        #expect(cluster.run { cluster[NodeID(4)].status.configuration == configuration })
        #expect(cluster[NodeID(4)].restoredSnapshots.count == 1)
    }

    // MARK: Voters

    @Test func `a voter is added through joint consensus, which is left by itself`() {
        let (cluster, leader) = cluster()
        _ = carryOut([.addLearner(NodeID(4))], on: cluster)
        #expect(cluster.run { cluster.hasConverged })
        let four = founders + [NodeID(4)]
        #expect(carryOut([.addVoter(NodeID(4))], on: cluster) == Configuration(voters: four))
        #expect(
            cluster[leader].configurations == [
                Configuration(voters: founders, learners: [NodeID(4)]),
                Configuration(voters: four, outgoing: founders, autoLeave: true), Configuration(voters: four),
            ])
    }

    @Test func `all voters can be replaced at once`() {
        let (cluster, leader) = cluster(6)
        _ = carryOut((4...6).map { .addLearner(NodeID($0)) }, on: cluster)
        #expect(cluster.run { cluster.hasConverged })
        let changes = (1...3).map { ConfigurationChange.replace(NodeID($0), with: NodeID($0 + 3)) }
        #expect(carryOut(changes, on: cluster) == Configuration(voters: [NodeID(4), NodeID(5), NodeID(6)]))
        #expect(cluster.run { cluster.leader.map { $0 > NodeID(3) } ?? false })
        #expect(cluster.run { cluster[leader].status.role == .follower })
        for id in founders { cluster.crash(id) }
        cluster.propose(3, on: cluster.elect())
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `a learner is not promoted before it has caught up and was heard`() {
        var options = RaftOptions()
        options.maximumPromotionLag = 3
        let (cluster, leader) = cluster(options: options)
        _ = carryOut([.addLearner(NodeID(4))], on: cluster)
        #expect(cluster.run { cluster.hasConverged })
        cluster.drops = { message, _, to in
            if case .appendEntries(let append) = message { to == NodeID(4) && !append.entries.isEmpty } else { false }
        }
        cluster.propose(4, on: leader)
        #expect(cluster.run { cluster[leader].status.commit == cluster[leader].status.last.index })
        #expect(cluster[leader].status.peers.last?.isCaughtUp == false)
        let early = cluster.change([.addVoter(NodeID(4))], on: leader)
        #expect(cluster[leader].outcomes[early] == [.refused(.notCaughtUp(NodeID(4)))])
        cluster.drops = { _, _, _ in false }
        #expect(cluster.run { cluster.hasConverged })
        cluster.cut(leader, NodeID(4))
        cluster.run(for: .milliseconds(200))
        #expect(cluster[leader].status.peers.last?.isHeard == false)
        let unheard = cluster.change([.addVoter(NodeID(4))], on: leader)
        #expect(cluster[leader].outcomes[unheard] == [.refused(.notHeard(NodeID(4)))])
        cluster.heal()
        cluster.run(for: .milliseconds(100))
        #expect(carryOut([.addVoter(NodeID(4))], on: cluster).isVoter(NodeID(4)))
    }

    @Test func `no change that would leave a majority of silent nodes (etcd #3477, C35)`() {
        let (cluster, leader) = cluster()
        let silent = cluster.followers(of: leader).first { founders.contains($0) }!
        let present = founders.first { $0 != leader && $0 != silent }!
        cluster.isolate(silent)
        cluster.run(for: .milliseconds(200))
        let token = cluster.change([.remove(present)], on: leader)
        #expect(cluster[leader].outcomes[token] == [.refused(.quorumNotHeard([silent]))])
        // The other way round it helps.
        #expect(!carryOut([.remove(silent)], on: cluster).contains(silent))
    }

    @Test(
        arguments: [
            ([], .unchanged), ([.remove(NodeID(9))], .notMember(NodeID(9))),
            ([.addVoter(NodeID(9))], .notLearner(NodeID(9))),
            ([.addLearner(NodeID(2))], .alreadyVoter(NodeID(2))), ([.demote(NodeID(9))], .notVoter(NodeID(9))),
            ([.addVoter(NodeID(2))], .unchanged), ([.remove(NodeID(2)), .demote(NodeID(2))], .repeated(NodeID(2))),
            ([.replace(NodeID(9), with: NodeID(8))], .notVoter(NodeID(9))),
            ([.replace(NodeID(1), with: NodeID(8))], .notLearner(NodeID(8))),
            ([.replace(NodeID(1), with: NodeID(2))], .alreadyVoter(NodeID(2))),
            ([.remove(NodeID(1)), .remove(NodeID(2)), .demote(NodeID(3))], .noVoters),
            ((4...70).map { .addLearner(NodeID($0)) }, .tooManyMembers),
        ] as [([ConfigurationChange], ConfigurationRefusal)])
    func `what makes no sense is refused with the reason`(changes: [ConfigurationChange], reason: ConfigurationRefusal)
    {
        let (cluster, leader) = cluster(3)
        let token = cluster.change(changes, on: leader)
        #expect(cluster[leader].outcomes[token] == [.refused(reason)])
        let follower = cluster.followers(of: leader)[0]
        let asked = cluster.change(changes, on: follower)
        #expect(cluster[follower].outcomes[asked] == [.refused(.notLeader(hint: leader))])
    }

    // MARK: One step at a time

    @Test func `one change at a time, and joint consensus is left before the next (C34)`() {
        let (cluster, leader) = cluster()
        let follower = cluster.followers(of: leader)[0]
        let first = cluster.change([.demote(follower)], autoLeave: false, on: leader)
        let index = cluster[leader].status.configurationIndex
        #expect(cluster[leader].status.isConfigurationPending)
        let second = cluster.change([.addLearner(NodeID(4))], on: leader)
        #expect(cluster[leader].outcomes[second] == [.refused(.changePending(index))])
        #expect(cluster.run { cluster.hasConverged })
        let joint = Configuration(
            voters: founders.filter { $0 != follower }, outgoing: founders, learnersNext: [follower])
        #expect(cluster[leader].outcomes[first]?.last == .done(joint, at: index))
        let third = cluster.change([.addLearner(NodeID(4))], on: leader)
        #expect(cluster[leader].outcomes[third] == [.refused(.joint)])
        cluster.run(for: .seconds(1))
        #expect(cluster[leader].status.configuration == joint)
        let leave = cluster.change(.leaveJoint, on: leader)
        #expect(cluster.run { cluster[leader].outcomes[leave]?.count == 2 })
        #expect(cluster[leader].status.configuration.learners == [follower])
        let again = cluster.change(.leaveJoint, on: leader)
        #expect(cluster[leader].outcomes[again] == [.refused(.notJoint)])
    }

    @Test func `no change during a transfer, a stall, or a pause, or on a full disk`() {
        let (cluster, leader) = cluster()
        func refusal() -> ConfigurationOutcome? {
            let token = cluster.change([.addLearner(NodeID(4))], on: leader)
            return cluster[leader].outcomes[token]?.last
        }
        cluster.turn(cluster[leader], [.admission(paused: true)])
        #expect(refusal() == .refused(.paused))
        cluster.turn(cluster[leader], [.admission(paused: false), .storageFull(true)])
        #expect(refusal() == .refused(.storageFull))
        cluster.turn(cluster[leader], [.storageFull(false)])
        cluster.drops = { message, _, _ in if case .timeoutNow = message { true } else { false } }
        cluster.turn(cluster[leader], [.transferLeadership(to: nil)])
        #expect(refusal() == .refused(.transferring))
        cluster.run(for: .milliseconds(200))
        cluster.turn(cluster[leader], [.storageStalled(true)])
        #expect(refusal() == .refused(.storageStalled))
    }

    @Test func `whoever waits for a change hears when its leader cannot say what became of it`() {
        let (cluster, leader) = cluster()
        cluster.isolate(leader)
        let token = cluster.change([.addLearner(NodeID(4))], on: leader)
        cluster.run(for: .seconds(1))
        #expect(cluster[leader].outcomes[token]?.last == .unknown)
        cluster.heal()
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[leader].status.configuration == Configuration(voters: founders))
    }
}
