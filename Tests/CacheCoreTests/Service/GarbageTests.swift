import CacheCore
import EsperTypes
import Testing

@Suite struct `What keeps collectors and stores apart` {
    private func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
    private func digest(_ number: UInt64) -> Digest { Digest(words: number << 32, 1, 2, 3) }
    private func round(_ collector: UInt64, _ number: UInt64 = 1) -> CollectionID {
        CollectionID(collector: NodeID(collector), number: number)
    }
    private let archive = BlobHolding(tiers: TierSet(.archive))

    // MARK: Holds

    @Test func `what is held or claimed is not condemned, and what is condemned is one collection's until it ends`() {
        var holds = BlobHolds()
        let holder = holds.hold([digest(1)], until: at(5000), now: at(0))
        _ = holds.claim([digest(4)], now: at(0))
        let first = holds.condemn([1, 2, 4].map(digest), by: round(1), until: at(1000), now: at(0))
        #expect(first == [digest(1), digest(4)])
        #expect(!holds.isCondemned(digest(1), now: at(0)))
        #expect(holds.isCondemned(digest(2), now: at(999)))
        let second = holds.condemn([digest(2), digest(3)], by: round(2), until: at(9000), now: at(10))
        #expect(second == [digest(2)])
        holds.reprieve([digest(2), digest(3)], by: round(1))
        #expect(!holds.isCondemned(digest(2), now: at(10)))
        #expect(holds.isCondemned(digest(3), now: at(10)))
        if let holder { holds.release(holder) }
        let third = holds.condemn([digest(1), digest(3)], by: round(1), until: at(20_000), now: at(9000))
        #expect(third == [])
        holds.sweep(at(20_000), claimsOlderThan: .seconds(1))
        #expect(!holds.isCondemned(digest(3), now: at(9000)))
    }

    @Test func `a late word of one collection says nothing about the next one of the same collector`() {
        var holds = BlobHolds()
        _ = holds.condemn([digest(1)], by: round(1, 7), until: at(1000), now: at(0))
        holds.reprieve([digest(1)], by: round(1, 7))
        let wanted = holds.condemn([digest(1)], by: round(1, 8), until: at(1000), now: at(0))
        #expect(wanted == [])
        let late = holds.condemn([digest(1)], by: round(1, 7), until: at(1000), now: at(1))
        #expect(late == [digest(1)])
        holds.reprieve([digest(1)], by: round(1, 7))
        #expect(holds.isCondemned(digest(1), now: at(2)))
    }

    @Test func `what was found out before a blob was claimed is no evidence`() {
        var holds = BlobHolds(maximumClaims: 2)
        let first = holds.claim([digest(1), digest(2)], now: at(0))
        // Too many: the claims before are forgotten, and may be collected.
        _ = holds.claim([digest(3)], now: at(1))
        let again = holds.claim([digest(1)], now: at(2))
        holds.note([digest(1): archive, digest(2): archive], under: first)
        #expect(holds.evidence(of: digest(1)) == BlobHolding())
        #expect(holds.evidence(of: digest(2)) == nil)
        holds.note([digest(1): archive], under: again)
        #expect(holds.evidence(of: digest(1)) == archive)
    }

    @Test func `the oldest claim of a blob counts`() {
        var holds = BlobHolds()
        let first = holds.claim([digest(1)], now: at(2))
        holds.note([digest(1): archive], under: first)
        let last = holds.claim([digest(1)], now: at(900))
        holds.note([digest(1): BlobHolding(tiers: TierSet(.catalog))], under: last)
        #expect(holds.evidence(of: digest(1))?.tiers == [TierSet(.catalog), TierSet(.archive)])
        holds.sweep(at(1002), claimsOlderThan: .seconds(1))
        #expect(holds.evidence(of: digest(1)) == nil)
    }

    @Test func `promises outlive a restart, and nothing new is promised for a while`() throws {
        var before = BlobHolds()
        _ = before.condemn([digest(1), digest(2)], by: round(1, 9), until: at(1000), now: at(0))
        _ = before.condemn([digest(3)], by: round(2, .max), until: at(10), now: at(0))
        let promises = before.promises(at: at(10))
        #expect(promises.collections == [digest(1): round(1, 9), digest(2): round(1, 9)])
        let read = try #require(CondemnedBlobs(decoding: promises.encoded()))
        #expect(read == promises)

        var after = BlobHolds()
        after.restarted(read, at: at(5000), quiet: .milliseconds(300), condemnation: .seconds(1))
        #expect(after.isCondemned(digest(1), now: at(5999)))
        #expect(!after.isCondemned(digest(1), now: at(6000)))
        #expect(!after.isCondemned(digest(3), now: at(5000)))
        let early = after.condemn([digest(4)], by: round(2), until: at(9000), now: at(5299))
        #expect(early == [digest(4)])
        let later = after.condemn([digest(4)], by: round(2), until: at(9000), now: at(5300))
        #expect(later == [])
        after.reprieve([digest(1)], by: round(1, 9))
        #expect(!after.isCondemned(digest(1), now: at(5999)))

        var unsure = BlobHolds()
        unsure.restarted(nil, at: at(5000), quiet: .zero, condemnation: .seconds(1))
        #expect(unsure.isCondemned(digest(77), now: at(5999)))
        #expect(!unsure.isCondemned(digest(77), now: at(6000)))
    }

    @Test func `promises that were damaged anywhere are not read`() {
        let bytes = CondemnedBlobs([digest(1): round(1), digest(2): round(2)]).encoded()
        for position in bytes.indices {
            #expect(CondemnedBlobs(decoding: Array(bytes[..<position])) == nil)
            var flipped = bytes
            flipped[position] ^= 4
            #expect(CondemnedBlobs(decoding: flipped) == nil)
        }
        #expect(CondemnedBlobs(decoding: bytes + [0]) == nil)
    }

    // MARK: Rounds

    private func newRound() -> GarbageRound {
        GarbageRound(
            [1, 2, 3, 4].map(digest), id: round(2), members: [NodeID(1), NodeID(2), NodeID(3)], deadline: at(1000))
    }

    private func asked() -> GarbageRound {
        var garbage = newRound()
        for node in UInt64(1)...3 {
            #expect(garbage.step == .ask(NodeID(node)))
            garbage.answered(wanted: node == 3 ? [digest(1)] : [])
        }
        #expect(garbage.step == .readNames)
        return garbage
    }

    @Test func `only what nobody wants and no name refers to goes, and everybody is told`() {
        var garbage = asked()
        garbage.namesRead([digest(2)], members: [NodeID(1), NodeID(2)], now: at(999)) { $0 != digest(3) }
        #expect(garbage.step == .delete([digest(4)]))
        garbage.deleted(isOver: true)
        for node in UInt64(1)...3 {
            #expect(garbage.step == .tell(NodeID(node)))
            garbage.told()
        }
        #expect(garbage.step == .done)
        #expect(!garbage.isDelayed && !garbage.isUnanswered)
    }

    @Test func `nothing goes when a node is silent or new, when names are not known, or too late`() {
        var silent = newRound()
        silent.answered(wanted: [])
        silent.silent()
        #expect(silent.step == .tell(NodeID(1)) && silent.isDelayed)

        var joined = asked()
        joined.namesRead([], members: [NodeID(1), NodeID(4)], now: at(0)) { _ in true }
        #expect(joined.step == .tell(NodeID(1)) && joined.isDelayed)

        var unread = asked()
        unread.namesRead(nil, members: [NodeID(1)], now: at(0)) { _ in true }
        #expect(unread.step == .tell(NodeID(1)) && unread.isDelayed)

        var late = asked()
        late.namesRead([], members: [NodeID(1)], now: at(1000)) { _ in true }
        #expect(late.step == .tell(NodeID(1)))

        var wanted = newRound()
        wanted.answered(wanted: Set(wanted.digests))
        #expect(wanted.step == .tell(NodeID(1)) && !wanted.isDelayed)
    }

    @Test func `nobody is told that a deletion is over which was not answered`() {
        var garbage = asked()
        garbage.namesRead([], members: [NodeID(2)], now: at(0)) { _ in true }
        garbage.deleted(isOver: false)
        #expect(garbage.step == .done && garbage.isUnanswered)
    }

    // MARK: Demotion and repair

    @Test func `a demotion gives up what it has read back, and no more`() {
        let bytes: (UInt64) -> [UInt8] = { [UInt8($0)] }
        var batch = DemotionBatch([1, 2, 3, 4].map(digest))
        batch.read([digest(1): bytes(1), digest(2): bytes(2), digest(3): bytes(3), digest(4): bytes(9)]) {
            digest($0 == digest(4) ? 4 : UInt64($1[0])) == $0 && $0 != digest(4)
        }
        #expect(batch.step == .discard([digest(4)]))
        batch.discarded()
        #expect(batch.step == .find([1, 2, 3].map(digest)))
        batch.found([digest(1)])
        #expect(batch.step == .copy([digest(2), digest(3)]))
        batch.copied()
        #expect(batch.step == .confirm([1, 2, 3].map(digest)))
        batch.confirmed([1, 2, 3].reduce(into: []) { $0.insert(digest($1)) })
        #expect(batch.step == .readBack([1, 2, 3].map(digest)))
        // The first is not there though it was said to be; the second has changed.
        batch.readBack([digest(2): bytes(7), digest(3): bytes(3)])
        #expect(batch.unverified == 2)
        #expect(batch.step == .mark([digest(3)]))
        batch.marked([digest(3)])
        #expect(batch.step == .drop([digest(3)]))
        batch.dropped([])
        #expect(batch.step == .done && batch.moved.isEmpty && batch.damaged == [digest(4)])
    }

    @Test func `holders give each other what names refer to`() {
        let owed = ShardRepair(
            mine: [digest(1), digest(2), digest(3)], theirs: [digest(3), digest(4), digest(5)],
            isWanted: { $0 != digest(1) && $0 != digest(5) })
        #expect(owed.missing == [digest(4)])
        #expect(owed.given == [digest(2)])
    }
}
