import EsperTypes
import RaftCore
import Testing

/// A closed link pulls an election forward, and proves nothing.
@Suite struct LinkHintTests {
    @Test(arguments: [3, 5])
    func `a killed leader is replaced within some tens of milliseconds`(size: Int) {
        var slowest = Duration.zero
        for seed in 0..<50 {
            let cluster = Cluster(size, seed: UInt64(seed))
            cluster.announcesLinks = true
            cluster.diskDelay = .milliseconds(2)
            let leader = cluster.elect()
            let start = cluster.now
            cluster.crash(leader)
            _ = cluster.elect()
            slowest = max(slowest, cluster.now - start)
        }
        #expect(slowest <= .milliseconds(60))
    }

    @Test func `slots are staggered by rank`() {
        let cluster = Cluster(5)
        cluster.announcesLinks = true
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster.drops = { message, _, _ in if case .preVoteRequest = message { true } else { false } }
        cluster.crash(leader)
        let slots = cluster.followers(of: leader).map { (cluster[$0].node.nextDeadline - cluster.now).nanoseconds }
        #expect(slots == [2_000_000, 12_000_000, 22_000_000, 25_000_000])
    }

    @Test func `one cut link changes nothing (C6)`() {
        let cluster = Cluster(3)
        cluster.announcesLinks = true
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let term = cluster[leader].status.term
        cluster.cut(leader, cluster.followers(of: leader)[0])
        for _ in 0..<20 {
            let token = cluster.propose(on: leader)[0]
            cluster.run(for: .milliseconds(100))
            #expect(cluster[leader].appliedIndex >= cluster[leader].appended[token]!.index)
        }
        #expect(cluster.leader == leader)
        #expect(cluster[leader].status.term == term)
    }

    @Test func `a link that comes back with a word of the leader cancels the hint`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1))
        _ = lone.turn(.linkDown(LoneNode.ada))
        #expect(lone.node.nextDeadline - lone.now <= .milliseconds(25))
        _ = lone.turn(.linkUp(LoneNode.ada), .received(append(term: 1), from: LoneNode.ada))
        #expect(lone.node.nextDeadline - lone.now >= .milliseconds(150))
    }

    @Test func `a closed link makes the leader forgettable for pre-votes only after it was ours`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1))
        let request = Message.preVoteRequest(PreVoteRequest(term: Term(2), last: .zero, round: 1))
        #expect(!lone.receive(request, from: LoneNode.bob).preVoteResponses[0].isGranted)
        _ = lone.turn(.linkDown(LoneNode.bob))
        #expect(!lone.receive(request, from: LoneNode.bob).preVoteResponses[0].isGranted)
        _ = lone.turn(.linkDown(LoneNode.ada))
        #expect(lone.receive(request, from: LoneNode.bob).preVoteResponses[0].isGranted)
    }

    @Test func `a hint that comes before the others see theirs is repeated at short intervals`() {
        let cluster = Cluster(3)
        cluster.announcesLinks = true
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let others = cluster.followers(of: leader)
        // The process is gone; only one follower's link has noticed.
        cluster.announcesLinks = false
        cluster.crash(leader)
        cluster.turn(cluster[others[0]], [.linkDown(leader)])
        cluster.run(for: .milliseconds(15))
        cluster.turn(cluster[others[1]], [.linkDown(leader)])
        let start = cluster.now
        _ = cluster.elect()
        #expect(cluster.now - start <= .milliseconds(60))
    }

    /// All sets of cut links among four and five nodes, closed or silent: 64 and 1,024 topologies, each from a
    /// running cluster. Whenever some node reaches a quorum, a leader serves (C6).
    @Test(arguments: [(4, true), (4, false), (5, true), (5, false)])
    func `whenever some node reaches a quorum directly, a leader serves (C6)`(size: Int, announced: Bool) {
        let pairs = (1...size).flatMap { one in (1...size).filter { $0 > one }.map { (UInt64(one), UInt64($0)) } }
        // Five silent nodes take long: a seventh of the topologies, by a stride that meets every link.
        for mask in stride(from: 0, to: 1 << pairs.count, by: size == 5 ? 7 : 1) {
            let cut = pairs.enumerated().filter { mask >> $0.offset & 1 == 1 }.map(\.element)
            let reach = (1...UInt64(size)).map { node in size - cut.filter { $0.0 == node || $0.1 == node }.count }
            guard reach.contains(where: { $0 > size / 2 }) else { continue }
            let cluster = Cluster(size, seed: UInt64(mask))
            cluster.announcesLinks = announced
            _ = cluster.elect()
            #expect(cluster.run { cluster.hasConverged })
            for (one, other) in cut { cluster.cut(NodeID(one), NodeID(other)) }
            cluster.run(for: .milliseconds(400))
            let serves = cluster.run(within: .seconds(5)) {
                guard let leader = cluster.leader else { return false }
                let status = cluster[leader].status
                return status.commit == status.last.index && status.last.term == status.term
            }
            #expect(serves, "cut \(cut)")
            guard serves, let leader = cluster.leader else { return }
            let token = cluster.propose(on: leader)[0]
            #expect(
                cluster.run(within: .milliseconds(100)) {
                    cluster[leader].appended[token].map { cluster[leader].appliedIndex >= $0.index } ?? false
                }, "cut \(cut)")
        }
    }
}
