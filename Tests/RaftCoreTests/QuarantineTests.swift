import EsperTypes
import RaftCore
import Testing

@Suite struct `A node whose storage lost promises` {
    private let lost = Term(5)

    private func quarantined() -> LoneNode {
        LoneNode(hardState: HardState(term: lost.next, vote: LoneNode.me), lostThrough: lost)
    }

    @Test func `does not campaign, however long it hears nothing`() {
        var node = quarantined()
        for _ in 0..<50 { #expect(node.wait(.seconds(1)).sends.isEmpty) }
        #expect(node.node.isQuarantined)
    }

    @Test func `grants neither pre-vote nor vote, in whatever term`() {
        var node = quarantined()
        let request = PreVoteRequest(term: Term(9), last: id(8, 100), round: 1)
        #expect(node.receive(.preVoteRequest(request)).preVoteResponses.map(\.isGranted) == [false])
        for term in 5...9 as ClosedRange<UInt64> {
            var effects = node.receive(
                .requestVote(RequestVote(term: Term(term), last: id(4, 100), isTransfer: true)))
            effects += node.sync()
            for case .requestVoteResponse(let response) in effects.sends.map(\.message) {
                #expect(!response.isGranted)
            }
        }
    }

    @Test func `deposes a leader that may still count what it has lost`() throws {
        var node = quarantined()
        let effects = node.receive(append(term: 5, [entry(5, 1)]))
        let answer = try #require(effects.appendResponses.first?.response)
        #expect(answer.outcome == .staleTerm && answer.term == lost.next)
    }

    @Test func `takes part again once an entry of a later leader is on its disk, and not before`() {
        var node = quarantined()
        _ = node.receive(append(term: 8, [entry(3, 1), entry(5, 2)], session: 1))
        _ = node.sync()
        #expect(node.node.isQuarantined, "these may be older than what it lost")
        _ = node.receive(append(term: 8, previous: id(5, 2), [entry(8, 3)], session: 1))
        #expect(node.node.isQuarantined, "not on disk yet")
        _ = node.sync()
        #expect(!node.node.isQuarantined)
        #expect(node.loseLeader().preVoteRequests.count == 2)
    }

    @Test func `does not take over when told to`() {
        var node = quarantined()
        _ = node.receive(append(term: 8, [entry(3, 1)]))
        _ = node.sync()
        #expect(node.receive(.timeoutNow(TimeoutNow(term: Term(8), last: id(3, 1)))).voteRequests.isEmpty)
        #expect(node.node.status.role == .follower)
    }

    @Test func `starts free when its log shows a later leader already`() {
        let free = LoneNode(
            hardState: HardState(term: Term(8)), entries: [entry(3, 1), entry(8, 2)], lostThrough: lost)
        #expect(!free.node.isQuarantined)
    }
}

@Suite struct `A cluster with a damaged voter` {
    /// Everything committed stands on the first leader and on the node that is damaged later.
    private func specimen(seed: UInt64, size: Int) -> (
        cluster: Cluster, leader: NodeID, damaged: NodeID, late: [NodeID]
    ) {
        let cluster = Cluster(size, seed: seed)
        let leader = cluster.elect()
        let others = cluster.followers(of: leader)
        let late = Array(others.suffix(size / 2))
        for node in late { cluster.isolate(node) }
        cluster.propose(20, on: leader)
        cluster.run { cluster[others[0]].appliedIndex >= cluster[leader].status.last.index }
        return (cluster, leader, others[0], late)
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `elects nobody who lacks what the damaged voter acknowledged`(seed: UInt64) {
        let (cluster, leader, damaged, late) = specimen(seed: seed, size: 3)
        let last = cluster[leader].status.last.index
        cluster.crash(leader)
        cluster.crash(damaged)
        cluster[damaged].disk.damage(of: damaged)
        cluster.heal()
        cluster.restart(damaged)
        cluster.run(for: .seconds(3))
        #expect(cluster.leader == nil, "\(late) must not win with a voter that forgot")
        cluster.restart(leader)
        #expect(cluster.run(within: .seconds(10)) { cluster.hasConverged })
        #expect(cluster.ids.allSatisfy { cluster[$0].appliedIndex >= last })
        #expect(!cluster[damaged].node.isQuarantined)
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `heals it while the leader goes on, from entries or from a snapshot`(seed: UInt64) {
        let cluster = Cluster(3, seed: seed)
        let leader = cluster.elect()
        let damaged = cluster.followers(of: leader)[0]
        cluster.propose(20, on: leader)
        cluster.run { cluster.hasConverged }
        if seed % 2 == 0 { cluster.takeSnapshot(on: leader) }
        cluster.crash(damaged)
        cluster[damaged].disk.damage(of: damaged)
        cluster.restart(damaged)
        #expect(cluster.run(within: .seconds(10)) { cluster.hasConverged && !cluster[damaged].node.isQuarantined })
        // It counts again: with it alone the next leader can be elected.
        let next = cluster.elect()
        cluster.crash(cluster.ids.first { $0 != next && $0 != damaged }!)
        cluster.propose(1, on: next)
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test(arguments: 0..<30 as Range<UInt64>)
    func `of five loses nothing when damage and crashes come in any order`(seed: UInt64) {
        let cluster = Cluster(5, seed: seed)
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<8 {
            let leader = cluster.elect()
            cluster.propose(5, on: leader)
            cluster.run(for: .milliseconds(Int64.random(in: 1...40, using: &generator)))
            let damaged = cluster.ids.randomElement(using: &generator)!
            cluster.crash(damaged)
            cluster[damaged].disk.damage(of: damaged)
            let other = cluster.ids.filter { $0 != damaged }.randomElement(using: &generator)!
            cluster.crash(other)
            cluster.restart(damaged)
            cluster.run(for: .milliseconds(Int64.random(in: 1...400, using: &generator)))
            cluster.restart(other)
            #expect(cluster.run(within: .seconds(10)) { cluster.hasConverged && !cluster[damaged].node.isQuarantined })
        }
    }
}
