import EsperTypes
import RaftCore
import Testing

@Suite struct QuorumTests {
    @Test func `a majority is more than half`() {
        let sizes = [0, 1, 2, 2, 3, 3, 4, 4]
        for (count, size) in sizes.enumerated() {
            #expect(MajorityQuorum((0..<count).map { NodeID(UInt64($0)) }).size == size)
        }
    }

    @Test func `no voters agree to everything and win every vote`() {
        let quorum = MajorityQuorum([])
        #expect(quorum.reached { _ in LogIndex(7) } == nil)
        #expect(quorum.result { _ in nil } == .won)
    }

    @Test func `a joint quorum needs both halves (§6)`() {
        let quorum = JointQuorum(incoming: [NodeID(1), NodeID(2), NodeID(3)], outgoing: [NodeID(3), NodeID(4)])
        let match: [UInt64: UInt64] = [1: 10, 2: 10, 3: 10, 4: 4]
        #expect(quorum.reached { LogIndex(match[$0.rawValue]!) } == LogIndex(4))
        #expect(quorum.result { $0 == NodeID(4) ? nil : true } == .pending)
        #expect(quorum.result { $0 == NodeID(4) ? false : true } == .lost)
        #expect(quorum.result { _ in true } == .won)
    }

    /// The optimised scan against counting, from the definition, for a million random groups.
    @Test func `the committed index equals a naive count in a million random cases (§5.3)`() {
        var generator = SeededGenerator(seed: 1)
        var ids: [NodeID] = []
        var matches = [UInt64](repeating: 0, count: 16)
        for _ in 0..<1_000_000 {
            let (incoming, outgoing) = Self.randomHalves(&generator, &ids)
            let range: UInt64 = [2, 5, 1000][Int(generator.next() % 3)]
            for position in matches.indices { matches[position] = generator.next() % range }
            let fast = JointQuorum(incoming: incoming, outgoing: outgoing)
                .reached { LogIndex(matches[Int($0.rawValue)]) }
            let naive = [incoming, outgoing].compactMap { Self.naiveReached($0, matches) }.min()
            guard fast?.rawValue == naive else {
                Issue.record("\(incoming) \(outgoing) \(matches): \(fast as Any), naive \(naive as Any)")
                return
            }
        }
    }

    @Test func `the vote result equals a naive count in a million random cases (§5.2)`() {
        var generator = SeededGenerator(seed: 2)
        var ids: [NodeID] = []
        var votes = [Bool?](repeating: nil, count: 16)
        for _ in 0..<1_000_000 {
            let (incoming, outgoing) = Self.randomHalves(&generator, &ids)
            for position in votes.indices { votes[position] = [nil, true, false][Int(generator.next() % 3)] }
            let fast = JointQuorum(incoming: incoming, outgoing: outgoing).result { votes[Int($0.rawValue)] }
            let halves = [Self.naiveResult(incoming, votes), Self.naiveResult(outgoing, votes)]
            let naive: VoteResult =
                halves.contains(.lost) ? .lost : halves.contains(.pending) ? .pending : .won
            guard fast == naive else {
                Issue.record("\(incoming) \(outgoing) \(votes): \(fast), naive \(naive)")
                return
            }
        }
    }

    /// Up to nine voters a half; the outgoing half is often empty, and they overlap.
    private static func randomHalves(
        _ generator: inout SeededGenerator, _ ids: inout [NodeID]
    ) -> (incoming: [NodeID], outgoing: [NodeID]) {
        func half(_ count: UInt64) -> [NodeID] {
            let mask = generator.next()
            return (0..<16).filter { mask >> UInt64($0) & 1 == 1 }.prefix(Int(count)).map { NodeID(UInt64($0)) }
        }
        return (half(generator.next() % 10), generator.next() % 2 == 0 ? [] : half(generator.next() % 10))
    }

    /// The largest value such that more than half have at least it: by trying each.
    private static func naiveReached(_ voters: [NodeID], _ matches: [UInt64]) -> UInt64? {
        guard !voters.isEmpty else { return nil }
        var best: UInt64 = 0
        for candidate in voters {
            let value = matches[Int(candidate.rawValue)]
            var count = 0
            for voter in voters where matches[Int(voter.rawValue)] >= value { count += 1 }
            if count * 2 > voters.count, value > best { best = value }
        }
        return best
    }

    /// Won when more than half granted; lost when even all the missing votes would not make it so.
    private static func naiveResult(_ voters: [NodeID], _ votes: [Bool?]) -> VoteResult {
        guard !voters.isEmpty else { return .won }
        let answers = voters.map { votes[Int($0.rawValue)] }
        let granted = answers.filter { $0 == true }.count
        let missing = answers.filter { $0 == nil }.count
        if granted * 2 > voters.count { return .won }
        return (granted + missing) * 2 > voters.count ? .pending : .lost
    }
}
