import EsperTypes
import RaftCore
import Testing

/// Raft §5.2, §5.4.1, dissertation §4.2.3, §6.2, §9.6.
@Suite struct ElectionTests {
    @Test func `a cluster elects one leader (§5.2)`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        for follower in cluster.followers(of: leader) {
            #expect(cluster[follower].status.leader == leader)
            #expect(cluster[follower].status.role == .follower)
        }
    }

    @Test func `a single voter leads at once`() {
        let cluster = Cluster(1)
        let leader = cluster.elect()
        cluster.propose(on: leader)
        #expect(cluster.run(within: .milliseconds(10)) { cluster[leader].applied.count == 2 })
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
}
