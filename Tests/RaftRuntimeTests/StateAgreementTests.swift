import EsperTypes
import RaftCore
import RaftRuntime
import Testing

/// One node's comparison, with the others' words at hand.
private struct Judge {
    var agreement = StateAgreement()
    var configuration: Configuration
    let id: NodeID

    init(_ id: UInt64, of voters: UInt64..., outgoing: [UInt64] = [], learners: [UInt64] = []) {
        self.id = NodeID(id)
        configuration = Configuration(
            voters: voters.map { NodeID($0) }, outgoing: outgoing.map { NodeID($0) },
            learners: learners.map { NodeID($0) })
    }

    mutating func own(_ index: UInt64, _ hash: UInt64) -> [StateAgreement.Finding] {
        agreement.mark(StateMark(index: LogIndex(index), hash: hash), id: id, configuration)
    }

    mutating func hear(_ peer: UInt64, _ marks: (UInt64, UInt64)...) -> [StateAgreement.Finding] {
        agreement.marked(
            marks.map { StateMark(index: LogIndex($0), hash: $1) }, by: NodeID(peer), id: id, configuration)
    }
}

private func difference(_ index: UInt64, _ own: UInt64, _ other: UInt64) -> StateDifference {
    StateDifference(index: LogIndex(index), own: own, other: other)
}

@Suite struct StateAgreementTests {
    @Test func `equal digests are silent, in whichever order they come`() {
        var judge = Judge(1, of: 1, 2, 3)
        #expect(judge.own(1024, 7).isEmpty)
        #expect(judge.hear(2, (1024, 7), (2048, 8)).isEmpty)
        #expect(judge.own(2048, 8).isEmpty)
        #expect(judge.hear(3, (2048, 8)).isEmpty)
        #expect(judge.agreement.agreedThrough == LogIndex(2048))
    }

    @Test func `only equal indexes are compared`() {
        var judge = Judge(1, of: 1, 2, 3)
        #expect(judge.own(1024, 7).isEmpty)
        #expect(judge.hear(2, (1025, 9)).isEmpty)
        #expect(judge.hear(3, (1023, 9)).isEmpty)
    }

    @Test func `the one of three that differs finds it out, and the others tell`() {
        var odd = Judge(3, of: 1, 2, 3)
        #expect(odd.own(1024, 9).isEmpty)
        #expect(odd.hear(1, (1024, 7)) == [.peerDiffers(NodeID(1), difference(1024, 9, 7), isOutvoted: false)])
        #expect(odd.hear(2, (1024, 7)) == [.weDiffer(difference(1024, 9, 7))])
        var even = Judge(1, of: 1, 2, 3)
        #expect(even.own(1024, 7).isEmpty)
        #expect(even.hear(2, (1024, 7)).isEmpty)
        #expect(even.hear(3, (1024, 9)) == [.peerDiffers(NodeID(3), difference(1024, 7, 9), isOutvoted: true)])
        #expect(even.agreement.differing == [NodeID(3)])
        // Said once.
        #expect(even.own(2048, 8).isEmpty)
        #expect(even.hear(3, (2048, 10)).isEmpty)
    }

    @Test func `a node that lags finds out when it comes to the index`() {
        var odd = Judge(3, of: 1, 2, 3)
        #expect(odd.hear(1, (1024, 7)).isEmpty && odd.hear(2, (1024, 7)).isEmpty)
        #expect(odd.own(1024, 9).contains(.weDiffer(difference(1024, 9, 7))))
    }

    @Test func `without a majority nobody stops`() {
        var one = Judge(1, of: 1, 2)
        #expect(one.own(1024, 7).isEmpty)
        #expect(one.hear(2, (1024, 9)) == [.peerDiffers(NodeID(2), difference(1024, 7, 9), isOutvoted: false)])
        var three = Judge(1, of: 1, 2, 3)
        #expect(three.own(1024, 7).isEmpty)
        #expect(three.hear(2, (1024, 8)) == [.peerDiffers(NodeID(2), difference(1024, 7, 8), isOutvoted: false)])
        #expect(three.hear(3, (1024, 9)) == [.peerDiffers(NodeID(3), difference(1024, 7, 9), isOutvoted: false)])
        // Two of five are no majority, even when only three are up.
        var five = Judge(1, of: 1, 2, 3, 4, 5)
        #expect(five.own(1024, 7).isEmpty)
        #expect(five.hear(2, (1024, 9)).count == 1)
        #expect(five.hear(3, (1024, 9)) == [.peerDiffers(NodeID(3), difference(1024, 7, 9), isOutvoted: false)])
        #expect(five.hear(4, (1024, 9)) == [.weDiffer(difference(1024, 7, 9))])
    }

    @Test func `a learner is judged by the voters, and has no say`() {
        var learner = Judge(4, of: 1, 2, 3, learners: [4])
        #expect(learner.own(1024, 9).isEmpty)
        #expect(learner.hear(1, (1024, 7)).count == 1)
        #expect(learner.hear(2, (1024, 7)) == [.weDiffer(difference(1024, 9, 7))])
        var voter = Judge(1, of: 1, 2, learners: [3, 4])
        #expect(voter.own(1024, 7).isEmpty)
        #expect(voter.hear(3, (1024, 9)) == [.peerDiffers(NodeID(3), difference(1024, 7, 9), isOutvoted: false)])
        #expect(voter.hear(4, (1024, 9)) == [.peerDiffers(NodeID(4), difference(1024, 7, 9), isOutvoted: false)])
    }

    @Test func `a joint configuration needs both majorities`() {
        var judge = Judge(1, of: 1, 2, 3, outgoing: [1, 4, 5])
        #expect(judge.own(1024, 7).isEmpty)
        _ = judge.hear(2, (1024, 9))
        #expect(judge.hear(3, (1024, 9)).allSatisfy { if case .weDiffer = $0 { false } else { true } })
        _ = judge.hear(4, (1024, 9))
        #expect(judge.hear(5, (1024, 9)) == [.weDiffer(difference(1024, 7, 9))])
    }

    @Test func `a peer that comes back, and one that agrees again, are told apart from those that differ`() {
        var judge = Judge(1, of: 1, 2)
        #expect(judge.own(1024, 7).isEmpty && judge.hear(2, (1024, 9)).count == 1)
        judge.agreement.forget(NodeID(2))
        #expect(judge.agreement.differing.isEmpty)
        #expect(judge.hear(2, (1024, 9)).count == 1)
        #expect(judge.own(2048, 8).isEmpty)
        #expect(judge.hear(2, (2048, 8)) == [.peerAgrees(NodeID(2))])
    }

    @Test func `a state that was replaced is not compared by what it was`() {
        var judge = Judge(1, of: 1, 2, 3)
        #expect(judge.own(1024, 9).isEmpty)
        judge.agreement.stateRestored()
        #expect(judge.hear(2, (1024, 7)).isEmpty && judge.hear(3, (1024, 7)).isEmpty)
        #expect(judge.own(4096, 5).isEmpty)
    }

    @Test func `marks are sent once, the newest first to go, and both sides keep a bounded number`() {
        var judge = Judge(1, of: 1, 2, 3)
        for number in 1...1000 as ClosedRange<UInt64> { _ = judge.own(number * 1024, number) }
        let sent = judge.agreement.marksToSend()
        #expect(sent.count == StateAgreement.maximumSent && sent.last?.index == LogIndex(1000 * 1024))
        #expect(judge.agreement.marksToSend().isEmpty)
        #expect(judge.agreement.newestMarks == sent)
        // Of a peer that is far behind nothing is left to compare.
        #expect(judge.hear(2, (1024, 0)).isEmpty)
        #expect(judge.hear(2, (1000 * 1024, 1000)).isEmpty)
        #expect(judge.agreement.agreedThrough == LogIndex(1000 * 1024))
        // Repeated and reordered words change nothing.
        #expect(judge.hear(2, (1000 * 1024, 1), (1024, 5)).isEmpty)
    }
}
