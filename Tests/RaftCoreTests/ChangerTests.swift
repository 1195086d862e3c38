import EsperTypes
import RaftCore
import Testing

/// Dissertation §4.1 and §4.3.
@Suite struct ChangerTests {
    private func ids(_ numbers: UInt64...) -> [NodeID] { numbers.map { NodeID($0) } }

    /// The rule that all of it is for: two consecutive configurations never decide apart.
    @Test func `quorums of consecutive configurations always meet, in 200,000 random steps`() throws {
        var generator = SeededGenerator(seed: 4)
        var steps = 0
        var joints = 0
        while steps < 200_000 {
            var configuration = Configuration(voters: Self.group(&generator), learners: [])
            for _ in 0..<20 {
                guard let next = Self.step(from: configuration, &generator) else { continue }
                steps += 1
                #expect(next.isValid)
                if next.isJoint { joints += 1 }
                guard !Self.canDecideApart(configuration, next) else {
                    Issue.record("\(configuration) and \(next) decide apart")
                    return
                }
                configuration = next
            }
        }
        #expect(joints > 20_000)
    }

    private static let universe: UInt64 = 7

    private static func group(_ generator: inout SeededGenerator) -> [NodeID] {
        let mask = generator.next() % (1 << universe)
        let nodes = (0..<universe).filter { mask >> $0 & 1 == 1 }.map { NodeID($0 + 1) }
        return nodes.isEmpty ? [NodeID(1)] : nodes
    }

    private static func step(from configuration: Configuration, _ generator: inout SeededGenerator) -> Configuration? {
        let changer = Changer(configuration)
        if configuration.isJoint { return try? changer.leaveJoint() }
        let changes = (0..<generator.next() % 6).map { _ -> ConfigurationChange in
            let node = NodeID(generator.next() % universe + 1)
            switch generator.next() % 5 {
            case 0: return .addVoter(node)
            case 1: return .addLearner(node)
            case 2: return .demote(node)
            case 3: return .remove(node)
            default: return .replace(node, with: NodeID(generator.next() % universe + 1))
            }
        }
        if generator.next() % 2 == 0 { return try? changer.simple(changes) }
        return try? changer.enterJoint(autoLeave: generator.next() % 2 == 0, changes)
    }

    /// By enumeration: some set of nodes decides for the one, and all the others together for the other.
    private static func canDecideApart(_ one: Configuration, _ other: Configuration) -> Bool {
        let everyone = UInt64(1) << universe - 1
        return (0...everyone).contains { decides($0, one) && decides(everyone & ~$0, other) }
    }

    private static func decides(_ nodes: UInt64, _ configuration: Configuration) -> Bool {
        [configuration.incoming, configuration.outgoing].allSatisfy { half in
            half.isEmpty || half.count { nodes >> ($0.rawValue - 1) & 1 == 1 } * 2 > half.count
        }
    }

    @Test func `without joint consensus at most one voter changes`() throws {
        let changer = Changer(Configuration(voters: ids(1, 2), learners: ids(3, 4)))
        #expect(try changer.simple([.addVoter(NodeID(3))]).incoming == ids(1, 2, 3))
        #expect(try changer.simple([.remove(NodeID(2)), .addLearner(NodeID(5))]).learners == ids(3, 4, 5))
        #expect(throws: Changer.Failure.changesSeveralVoters) {
            try changer.simple([.addVoter(NodeID(3)), .addVoter(NodeID(4))])
        }
        #expect(throws: Changer.Failure.changesSeveralVoters) {
            try changer.simple([.replace(NodeID(1), with: NodeID(3))])
        }
    }

    @Test func `a configuration without voters is never left behind`() {
        let changer = Changer(Configuration(voters: ids(1, 2)))
        let all: [ConfigurationChange] = [.remove(NodeID(1)), .demote(NodeID(2))]
        #expect(throws: Changer.Failure.removesAllVoters) { try changer.simple(all) }
        #expect(throws: Changer.Failure.removesAllVoters) { try changer.enterJoint(autoLeave: true, all) }
        #expect(throws: Changer.Failure.noVotersToJoin) {
            try Changer(.none).enterJoint(autoLeave: true, [.addVoter(NodeID(1))])
        }
    }

    @Test func `a demoted voter votes until joint consensus is left`() throws {
        let start = Configuration(voters: ids(1, 2, 3), learners: ids(4))
        let joint = try Changer(start).enterJoint(autoLeave: true, [.demote(NodeID(3)), .addVoter(NodeID(4))])
        #expect(joint.description == "voters=(1 2 4)&&(1 2 3) learnersNext=(3) autoLeave")
        #expect(throws: Changer.Failure.alreadyJoint) { try Changer(joint).simple([]) }
        #expect(throws: Changer.Failure.alreadyJoint) { try Changer(joint).enterJoint(autoLeave: false, []) }
        let left = try Changer(joint).leaveJoint()
        #expect(left == Configuration(voters: ids(1, 2, 4), learners: ids(3)))
        #expect(throws: Changer.Failure.notJoint) { try Changer(left).leaveJoint() }
    }
}
