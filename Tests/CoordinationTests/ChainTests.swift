import Coordination
import EsperTypes
import Testing

@Suite struct `The apply chain` {
    @Test func `tells replicas apart whose entries differ in a value alone`() {
        var left = Replica()
        var right = Replica()
        left.put("a", "1")
        right.put("a", "2")
        #expect(left.machine.applyChain != right.machine.applyChain)
    }

    @Test func `tells a replica whose state was changed by no entry`() throws {
        var left = Replica()
        left.put("a", "1")
        var right = left
        right.machine.divergeOnPurpose()
        left.put("b", "1")
        right.put("b", "1")
        #expect(left.machine.applyChain != right.machine.applyChain)
        // It is a state like any other: it can be stored and comes back different.
        #expect(try restored(right.machine).comparableChain == right.machine.comparableChain)
    }

    @Test func `begins anew with each epoch, and is comparable from then on`() throws {
        let end = LogIndex(StateMachine.chainEpoch)
        var left = StateMachine()
        left.applied = EntryID(term: Term(1), index: end.previous.previous)
        left.applyChain = 17
        left.isChainMixed = true
        var right = left
        right.applyChain = 18
        right.isChainMixed = false
        left.skip(index: end.previous, term: Term(1))
        right.skip(index: end.previous, term: Term(1))
        #expect(left.comparableChain == nil && right.comparableChain != nil)
        #expect(try restored(left).comparableChain == nil)
        left.skip(index: end, term: Term(1))
        right.skip(index: end, term: Term(1))
        #expect(left.comparableChain != nil && left.comparableChain == right.comparableChain)
        #expect(try restored(left).comparableChain == left.comparableChain)
    }
}
