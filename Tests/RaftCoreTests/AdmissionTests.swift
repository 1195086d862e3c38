import EsperTypes
import RaftCore
import Testing

/// Every bound has an answer for "full", and a leader that cannot serve stops promising.
@Suite struct AdmissionTests {
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    @Test func `uncommitted bytes are bounded and freed by the commit`() {
        var options = RaftOptions()
        options.maximumUncommittedBytes = Limits.entryPayloadBytes
        var lone = LoneNode(options: options)
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let half = [UInt8](repeating: 0, count: Limits.entryPayloadBytes / 2)
        let effects = lone.turn(.propose((1...3).map { Proposal(token: $0, payload: half) }))
        #expect(effects.contains(.proposalsAppended([1, 2], first: id(1, 2))))
        #expect(effects.contains(.proposalsRefused([3], .overloaded)))
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(3), from: ada, in: effects)
        #expect(lone.node.status.uncommittedBytes == 0)
        #expect(
            lone.turn(.propose([Proposal(token: 4, payload: half)])).contains(
                .proposalsAppended([4], first: id(1, 4))))
    }

    @Test func `uncommitted entries are bounded`() {
        var options = RaftOptions()
        options.maximumUncommittedEntries = 4
        var lone = LoneNode(options: options)
        _ = lone.becomeLeader()
        let effects = lone.turn(.propose((1...9).map { Proposal(token: $0, payload: []) }))
        #expect(effects.contains(.proposalsAppended([1, 2, 3], first: id(1, 2))))
        #expect(effects.contains(.proposalsRefused([4, 5, 6, 7, 8, 9], .overloaded)))
    }

    @Test func `a payload larger than an entry is refused alone`() {
        var lone = LoneNode()
        _ = lone.becomeLeader()
        let large = [UInt8](repeating: 0, count: Limits.entryPayloadBytes + 1)
        let effects = lone.turn(
            .propose([
                Proposal(token: 1, payload: []), Proposal(token: 2, payload: large), Proposal(token: 3, payload: []),
            ]))
        #expect(effects.contains(.proposalsAppended([1, 3], first: id(1, 2))))
        #expect(effects.contains(.proposalsRefused([2], .oversized)))
    }

    @Test func `entries are handed to the state machine within the bound`() {
        var options = RaftOptions()
        options.maximumUnappliedEntries = 3
        var lone = LoneNode(options: options)
        _ = lone.receive(append(term: 1, (1...8).map { entry(1, $0) }, commit: 8))
        #expect(lone.sync().applied.count == 3)
        #expect(lone.turn(.applied(through: LogIndex(2))).applied.map(\.index) == [LogIndex(4), LogIndex(5)])
    }

    @Test func `a paused driver admits nothing`() {
        var lone = LoneNode()
        _ = lone.becomeLeader()
        _ = lone.turn(.admission(paused: true))
        let refused = lone.turn(.propose([Proposal(token: 1, payload: [])]))
        #expect(refused.contains(.proposalsRefused([1], .paused)))
        _ = lone.turn(.admission(paused: false))
        #expect(
            lone.turn(.propose([Proposal(token: 2, payload: [])])).contains(.proposalsAppended([2], first: id(1, 2))))
    }

    @Test func `a leader without links to a quorum stops admitting at once`() {
        var lone = LoneNode()
        _ = lone.becomeLeader()
        _ = lone.turn(.linkDown(ada))
        #expect(
            lone.turn(.propose([Proposal(token: 1, payload: [])])).contains(.proposalsAppended([1], first: id(1, 2))))
        _ = lone.turn(.linkDown(bob))
        #expect(
            lone.turn(.propose([Proposal(token: 2, payload: [])])).contains(.proposalsRefused([2], .quorumUnreachable)))
        _ = lone.turn(.linkUp(ada))
        #expect(
            lone.turn(.propose([Proposal(token: 3, payload: [])])).contains(.proposalsAppended([3], first: id(1, 3))))
    }

    @Test func `a leader whose disk hangs hands over by itself (C52)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster[leader].disk.isFrozen = true
        let committed = cluster.propose(on: leader)[0]
        let start = cluster.now
        #expect(cluster.run { cluster.leader != leader && cluster.leader != nil })
        #expect(cluster.now - start < .milliseconds(700))
        let successor = cluster.elect()
        // The entry was on the disks of the two others: it is kept.
        #expect(cluster[successor].applied.contains { $0.id == cluster[leader].appended[committed] })
        cluster[leader].disk.isFrozen = false
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `a leader whose disk hangs admits nothing meanwhile (C52)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.isolate(leader)
        cluster.turn(cluster[leader], [.storageStalled(true)])
        let token = cluster.propose(on: leader)[0]
        #expect(cluster[leader].refused[token] == .storageStalled)
    }

    @Test func `a node whose disk hangs does not campaign`() {
        var lone = LoneNode()
        _ = lone.turn(.storageStalled(true))
        for _ in 0..<5 { #expect(lone.loseLeader().preVoteRequests.isEmpty) }
        _ = lone.turn(.storageStalled(false))
        #expect(!lone.loseLeader().preVoteRequests.isEmpty)
    }
}

@Suite struct `A full disk` {
    @Test func `of the leader refuses proposals with the reason, and admits them again`() {
        var lone = LoneNode()
        _ = lone.becomeLeader()
        _ = lone.turn(.storageFull(true))
        let refused = lone.turn(.propose([Proposal(token: 1, payload: [])]))
        #expect(refused.contains(.proposalsRefused([1], .storageFull)))
        _ = lone.turn(.storageFull(false))
        #expect(
            lone.turn(.propose([Proposal(token: 2, payload: [])])).contains(.proposalsAppended([2], first: id(1, 2))))
    }

    @Test func `of a follower takes no entries and vouches for none, until there is space`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let full = cluster.followers(of: leader)[0]
        let held = cluster[full].status.last
        cluster.turn(cluster[full], [.storageFull(true)])
        cluster.propose(10, on: leader)
        // The others are a majority.
        #expect(cluster.run { cluster[leader].status.commit == cluster[leader].status.last.index })
        cluster.run(for: .seconds(1))
        #expect(cluster[full].status.last == held)
        #expect(cluster[leader].status.peers.first { $0.id == full }?.match == held.index)
        cluster.turn(cluster[full], [.storageFull(false)])
        #expect(cluster.run { cluster.hasConverged })
    }
}
