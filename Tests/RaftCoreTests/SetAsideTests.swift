import EsperTypes
import RaftCore
import Testing

/// Nodes that an operator wants to lead nothing for a while.
@Suite struct SetAsideTests {
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a node that is set aside leaves the election to the others`(seed: UInt64) {
        let cluster = Cluster(3, seed: seed)
        cluster.announcesLinks = seed.isMultiple(of: 2)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let followers = cluster.followers(of: leader)
        let (aside, other) = (followers[Int(seed / 2 % 2)], followers[1 - Int(seed / 2 % 2)])
        cluster.turn(cluster[aside], [.setAside([aside])])
        let before = cluster[aside].roles.count
        cluster.crash(leader)
        #expect(cluster.elect() == other)
        #expect(!cluster[aside].roles.dropFirst(before).contains { $0.role == .preCandidate })
    }

    @Test func `a node that is set aside leads when nobody else can`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let (aside, behind) = (cluster.followers(of: leader)[0], cluster.followers(of: leader)[1])
        cluster.cut(leader, behind)
        cluster.propose(3, on: leader)
        #expect(cluster.run { cluster[aside].appliedIndex == cluster[leader].status.last.index })
        cluster.turn(cluster[aside], [.setAside([aside])])
        cluster.crash(leader)
        #expect(cluster.elect() == aside)
    }

    @Test func `leadership is handed to one that is set aside only when there is no other`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let (aside, other) = (cluster.followers(of: leader)[0], cluster.followers(of: leader)[1])
        cluster.turn(cluster[leader], [.setAside([aside]), .transferLeadership(to: nil)])
        #expect(cluster.run { cluster.leader == other })
        cluster.crash(leader)
        #expect(cluster.run { cluster[other].status.commit == cluster[other].status.last.index })
        // Both that are left are set aside: they do not pass it to each other for ever.
        cluster.turn(cluster[other], [.setAside([aside, other]), .transferLeadership(to: nil)])
        #expect(cluster[other].transferFailures == [.noTarget])
        // But a leader that is not, and stops, gives it to whoever there is.
        cluster.turn(cluster[other], [.setAside([aside]), .transferLeadership(to: nil)])
        #expect(cluster.run { cluster.leader == aside })
    }

    @Test func `who was removed and told so campaigns no more`() {
        var lone = LoneNode()
        _ = lone.turn(.excluded)
        for _ in 0..<10 { #expect(lone.wait(.seconds(1)).preVoteRequests.isEmpty) }
    }
}
