import EsperTypes
import RaftCore
import Testing

/// Many short lives of small clusters under faults and changes of membership drawn from a seed. The harness checks election safety, leader
/// completeness and state machine safety throughout; in the end the cluster must be whole and serve again.
@Suite struct RandomFaultTests {
    @Test(arguments: 0..<10)
    func `nothing committed is lost and the cluster recovers`(block: UInt64) {
        for seed in block * 40..<(block + 1) * 40 { Self.live(seed: seed) }
    }

    static func live(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let size = Int.random(in: 1...6, using: &generator)
        let founders = Int.random(in: 1...min(size, 5), using: &generator)
        var options = RaftOptions()
        options.maximumInFlightAppends = Int.random(in: 1...4, using: &generator)
        options.maximumAppendBytes = Int.random(in: 1...200, using: &generator)
        options.maximumUnappliedEntries = Int.random(in: 1...50, using: &generator)
        options.maximumPromotionLag = Int.random(in: 0...30, using: &generator)
        options.snapshotChunkBytes = 64
        let configuration = Configuration(voters: (1...founders).map { NodeID(UInt64($0)) })
        let cluster = Cluster(size, configuration: configuration, options: options, seed: seed)
        cluster.announcesLinks = Bool.random(using: &generator)
        let loss = Double.random(in: 0...0.3, using: &generator)
        let repetition = Double.random(in: 0...0.3, using: &generator)
        let spread = Int64.random(in: 0...20_000, using: &generator)
        var dice = SeededGenerator(seed: seed ^ 0xff)
        cluster.drops = { _, _, _ in Double.random(in: 0..<1, using: &dice) < loss }
        cluster.copies = { Double.random(in: 0..<1, using: &dice) < repetition ? 2 : 1 }
        cluster.jitter = { .microseconds(spread == 0 ? 0 : Int64.random(in: 0..<spread, using: &dice)) }
        for _ in 0..<60 {
            act(on: cluster, &generator)
            cluster.run(for: .milliseconds(Int64.random(in: 0...120, using: &generator)))
        }
        recover(cluster, seed: seed)
    }

    private static func act(on cluster: Cluster, _ generator: inout SeededGenerator) {
        let id = cluster.ids.randomElement(using: &generator)!
        let other = cluster.ids.randomElement(using: &generator)!
        let member = cluster[id]
        switch Int.random(in: 0..<18, using: &generator) {
        case 0...4:
            guard let leader = cluster.leader else { return }
            let count = Int.random(in: 1...20, using: &generator)
            cluster.propose(count, on: leader, bytes: Int.random(in: 0...60, using: &generator))
        case 5: if member.isUp { cluster.propose(on: id) }
        case 6: if member.isUp { cluster.read(on: id) }
        case 7: if member.isUp { cluster.crash(id) }
        case 8: if !member.isUp { cluster.restart(id) }
        case 9: if id != other, member.isUp, cluster[other].isUp { cluster.cut(id, other) }
        case 10: if id != other { cluster.cutOneWay(from: id, to: other) }
        case 11: cluster.heal()
        case 12:
            guard member.isUp, member.appliedIndex > member.status.snapshot?.index ?? .zero else { return }
            guard member.node.snapshotBasis(at: member.appliedIndex) != nil else { return }
            let room = Int(member.appliedIndex.rawValue - member.status.first.rawValue) + 1
            cluster.takeSnapshot(
                on: id, bytes: Int.random(in: 1...300, using: &generator),
                retaining: Int.random(in: 0...max(0, room), using: &generator))
        case 14...16: changeMembership(of: cluster, &generator)
        default:
            if member.isUp {
                cluster.turn(member, [.transferLeadership(to: Bool.random(using: &generator) ? other : nil)])
            }
        }
    }

    private static func changeMembership(of cluster: Cluster, _ generator: inout SeededGenerator) {
        guard let leader = cluster.leader else { return }
        if Int.random(in: 0..<5, using: &generator) == 0 {
            cluster.change(.leaveJoint, on: leader)
            return
        }
        let changes = (0..<Int.random(in: 1...3, using: &generator)).map { _ -> ConfigurationChange in
            let node = cluster.ids.randomElement(using: &generator)!
            switch Int.random(in: 0..<8, using: &generator) {
            case 0...1: return .addLearner(node)
            case 2...4: return .addVoter(node)
            case 5: return .demote(node)
            case 6: return .remove(node)
            default: return .replace(node, with: cluster.ids.randomElement(using: &generator)!)
            }
        }
        cluster.change(changes, autoLeave: Int.random(in: 0..<4, using: &generator) > 0, on: leader)
    }

    private static func recover(_ cluster: Cluster, seed: UInt64) {
        cluster.drops = { _, _, _ in false }
        cluster.copies = { 1 }
        cluster.jitter = { .zero }
        cluster.heal()
        for member in cluster.members where !member.isUp { cluster.restart(member.id) }
        let isServing = cluster.run(within: .seconds(10)) {
            guard let leader = cluster.leader else { return false }
            let status = cluster[leader].status
            return status.last.term == status.term && cluster.hasConverged && !status.configuration.autoLeave
        }
        #expect(isServing, "seed \(seed): \(cluster.members.map(\.status))")
        guard isServing, let leader = cluster.leader else { return }
        let reader = cluster[leader].status.configuration.members.last!
        let token = cluster.read(on: reader)
        cluster.propose(3, on: leader)
        #expect(cluster.run { cluster.hasConverged }, "seed \(seed): \(cluster.members.map(\.status))")
        #expect(
            cluster.run { cluster[reader].readable[token] != nil }, "seed \(seed): the read is not answered")
    }
}
