import EsperTypes
import Testing

@Suite struct InstantTests {
    @Test func `adding and subtracting are inverse away from the ends`() {
        let start = Instant(nanoseconds: 1_000)
        #expect(start + .nanoseconds(500) - .nanoseconds(500) == start)
        #expect((start + .seconds(2)) - start == .seconds(2))
        #expect(start - (start + .seconds(2)) == .seconds(-2))
    }

    @Test func `both ends saturate`() {
        #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
        #expect(Instant(nanoseconds: 5) - .seconds(1) == .zero)
        #expect(Duration.seconds(Int64.max).nanoseconds == .max)
        #expect(Duration.seconds(Int64.min).nanoseconds == .min)
    }

    @Test func `identifiers print sixteen digits and read them back`() {
        #expect(NodeID(0xab).description == "00000000000000ab")
        #expect(NodeID("00000000000000ab") == NodeID(0xab))
        #expect(NodeID("not hex") == nil)
        #expect(NodeID("11111111111111111") == nil)
    }

    @Test func `entry IDs are ordered by term, then index`() {
        let old = EntryID(term: Term(1), index: LogIndex(9))
        let new = EntryID(term: Term(2), index: LogIndex(1))
        #expect(old < new)
        #expect(new < EntryID(term: Term(2), index: LogIndex(2)))
    }
}
