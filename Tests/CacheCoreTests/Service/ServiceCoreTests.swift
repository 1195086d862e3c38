import CacheCore
import EsperTypes
import Testing

@Suite struct ServiceCoreTests {
    private func digest(_ number: UInt64) -> Digest { Digest(words: number, 0, 0, number) }
    private func at(_ milliseconds: Int) -> Instant { .zero + .milliseconds(milliseconds) }

    // MARK: Single flight

    @Test func `one leads, others wait, too many are refused, and all are told at the end`() {
        var flights = SingleFlight<Int>(maximumWaiters: 3, maximumLoads: 1)
        let outcome1 = flights.join(7, 1)
        #expect(outcome1 == .lead(1))
        let outcome2 = flights.join(7, 2)
        #expect(outcome2 == .wait(1))
        let outcome3 = flights.join(7, 3)
        #expect(outcome3 == .wait(1))
        let outcome4 = flights.join(7, 4)
        #expect(outcome4 == .refuse)
        let outcome5 = flights.join(8, 5)
        #expect(outcome5 == .refuse)
        let outcome6 = flights.leave(1, 1)
        #expect(outcome6 == false)
        #expect(flights.waiterCount == 2)
        let outcome7 = flights.finish(1)
        #expect(outcome7 == [2, 3])
        let outcome8 = flights.finish(1)
        #expect(outcome8 == [])
        #expect(flights.loadCount == 0)
        #expect(flights.waiterCount == 0)
    }

    @Test func `the last to leave ends the load; an overtaken load answers those who joined before`() {
        var flights = SingleFlight<Int>(maximumWaiters: 3, maximumLoads: 3)
        let outcome9 = flights.join(7, 1)
        #expect(outcome9 == .lead(1))
        let outcome10 = flights.leave(1, 1)
        #expect(outcome10 == true)
        let outcome11 = flights.join(7, 2)
        #expect(outcome11 == .lead(2))
        flights.overtake(7)
        let outcome12 = flights.join(7, 3)
        #expect(outcome12 == .lead(3))
        let outcome13 = flights.finish(2)
        #expect(outcome13 == [2])
        let outcome14 = flights.join(7, 4)
        #expect(outcome14 == .wait(3))
    }

    // MARK: Tokens

    @Test func `a token is one holder's until it runs out, is renewed by its number alone, and ends with a store`() {
        var tokens = CompileTokens(seed: 1)
        let name: [UInt8] = [1]
        guard case .granted(let first, let lifetime) = tokens.ask(name, holder: "n1", expected: .seconds(5), now: at(0))
        else {
            Issue.record("not granted")
            return
        }
        #expect(lifetime == .seconds(10))
        let outcome15 = tokens.ask(name, holder: "n2", expected: nil, now: at(4000))
        #expect(outcome15 == .held(for: .seconds(6)))
        let outcome16 = tokens.renew(name, number: first, now: at(9000))
        #expect(outcome16 == .seconds(10))
        let outcome17 = tokens.renew(name, number: first + 1, now: at(9000))
        #expect(outcome17 == nil)
        guard case .granted(let second, _) = tokens.ask(name, holder: "n2", expected: nil, now: at(19_001)) else {
            Issue.record("not given on")
            return
        }
        #expect(second != first)
        let outcome18 = tokens.renew(name, number: first, now: at(19_002))
        #expect(outcome18 == nil)
        #expect(tokens.expired == 1)
        tokens.stored(name)
        #expect(tokens.count == 0)
    }

    @Test(arguments: 1...50) func `an error that comes again is told for a minute, a fifth more or less`(_ seed: Int) {
        var tokens = CompileTokens(seed: UInt64(seed))
        let name: [UInt8] = [1]
        guard case .granted(let number, _) = tokens.ask(name, holder: "n1", expected: nil, now: at(0)) else { return }
        let outcome19 = tokens.failed(name, number: number + 1, message: "not his", isDeterministic: true, now: at(0))
        #expect(outcome19 == false)
        let outcome20 = tokens.failed(name, number: number, message: "bad", isDeterministic: true, now: at(0))
        #expect(outcome20 == true)
        guard case .failing("bad", let left) = tokens.ask(name, holder: "n2", expected: nil, now: at(0)) else {
            Issue.record("not told")
            return
        }
        #expect(left >= .seconds(48) && left <= .seconds(72))
        guard case .granted = tokens.ask(name, holder: "n2", expected: nil, now: at(72_001)) else {
            Issue.record("told for ever")
            return
        }
    }

    @Test func `there are so many tokens and no more; those that ran out make room`() {
        var settings = CompileTokens.Settings()
        settings.maximumTokens = 2
        var tokens = CompileTokens(settings: settings, seed: 1)
        _ = tokens.ask([1], holder: "n1", expected: .seconds(1), now: at(0))
        _ = tokens.ask([2], holder: "n1", expected: .seconds(100), now: at(0))
        let outcome21 = tokens.ask([3], holder: "n1", expected: nil, now: at(0))
        #expect(outcome21 == .full)
        guard case .granted = tokens.ask([3], holder: "n1", expected: nil, now: at(2001)) else {
            Issue.record("no room was made")
            return
        }
    }

    // MARK: The closure gate

    struct Case: Sendable {
        var mode: StoreMode
        var members: Int
        var memories = 0
        var disks = 0
        var tiers: TierSet = []
        var isOpen: Bool
    }

    private static let cases = [
        Case(mode: .memory, members: 3, memories: 2, isOpen: true),
        Case(mode: .memory, members: 3, memories: 1, isOpen: false),
        Case(mode: .memory, members: 1, memories: 1, isOpen: true),
        Case(mode: .memory, members: 3, memories: 1, tiers: TierSet(.catalog), isOpen: true),
        Case(mode: .memory, members: 3, memories: 1, tiers: TierSet(.redis), isOpen: false),
        Case(mode: .durable, members: 3, memories: 3, disks: 1, isOpen: false),
        Case(mode: .durable, members: 3, disks: 2, isOpen: true),
        Case(mode: .durable, members: 1, memories: 1, isOpen: false),
        Case(mode: .durable, members: 1, disks: 1, isOpen: true),
        Case(mode: .durable, members: 3, tiers: TierSet(.catalog), isOpen: true),
        Case(mode: .durable, members: 3, memories: 2, tiers: TierSet(.redis), isOpen: false),
        Case(mode: .durable, members: 3, tiers: TierSet(.archive), isOpen: true),
        Case(mode: .archived, members: 3, memories: 3, disks: 3, tiers: TierSet(.catalog), isOpen: false),
        Case(mode: .archived, members: 3, tiers: TierSet(.archive), isOpen: true),
    ]

    @Test(arguments: cases) func `a blob counts as the mode has it`(_ given: Case) {
        var gate = ClosureGate([digest(1)], mode: given.mode, members: given.members, hasArchive: true)
        #expect(!gate.isOpen)
        gate.note(
            digest(1),
            BlobHolding(
                memory: Set((0..<given.memories).map { NodeID(UInt64($0 + 1)) }),
                synced: Set((0..<given.disks).map { NodeID(UInt64($0 + 1)) }), tiers: given.tiers))
        #expect(gate.isOpen == given.isOpen)
    }

    @Test func `one lacking blob keeps the gate shut, and only what holds all of them is told`() {
        var gate = ClosureGate([digest(1), digest(2)], mode: .durable, members: 3, hasArchive: false)
        gate.note(digest(1), BlobHolding(synced: [NodeID(1), NodeID(2)], tiers: TierSet(.redis)))
        #expect(gate.lacking == [digest(2)])
        gate.note(digest(2), BlobHolding(tiers: TierSet(.catalog)))
        #expect(gate.isOpen)
        #expect(gate.tiers == [])
        // What is not of the closure changes nothing.
        gate.note(digest(3), BlobHolding())
        #expect(gate.lacking == [])
    }

    // MARK: Retrieval

    @Test func `sources are asked in order for what is left, and only what all denied is lost`() throws {
        var plan = RetrievalPlan(
            [digest(1), digest(2), digest(3)],
            sources: [(.disk, nil), (.peer(NodeID(2)), [digest(1), digest(2)]), (.redis, nil), (.catalog, nil)],
            deadline: at(10_000))
        let next22 = plan.next(now: at(0))
        let disk = try #require(next22)
        #expect(disk.digests == [digest(1), digest(2), digest(3)])
        plan.answered(disk, found: [digest(3)])
        let next23 = plan.next(now: at(1))
        let peer = try #require(next23)
        #expect(peer.source == .peer(NodeID(2)))
        #expect(peer.deadline == at(501))
        plan.failed(peer, found: [digest(1)])
        #expect(plan.unreached == [digest(2)])
        let next24 = plan.next(now: at(2))
        let redis = try #require(next24)
        #expect(redis.digests == [digest(2)])
        plan.answered(redis, found: [Digest]())
        let next25 = plan.next(now: at(3))
        let catalog = try #require(next25)
        plan.answered(catalog, found: [Digest]())
        let outcome26 = plan.next(now: at(4))
        #expect(outcome26 == nil)
        // The peer might have had it.
        #expect(plan.lost == [])
        #expect(plan.unreached == [digest(2)])
    }

    @Test func `what all denied is lost, and what there was no time to ask for is not`() throws {
        var plan = RetrievalPlan([digest(1)], sources: [(.disk, nil), (.catalog, nil)], deadline: at(100))
        let next27 = plan.next(now: at(0))
        let disk = try #require(next27)
        plan.answered(disk, found: [Digest]())
        var late = plan
        let next28 = plan.next(now: at(50))
        let catalog = try #require(next28)
        #expect(catalog.deadline == at(100))
        plan.answered(catalog, found: [Digest]())
        #expect(plan.lost == [digest(1)])
        let outcome29 = late.next(now: at(100))
        #expect(outcome29 == nil)
        #expect(late.lost == [])
        #expect(late.unreached == [digest(1)])
    }

    // MARK: Routing

    @Test(arguments: [0, 1, 2] as [UInt64], [0, 1, 2] as [UInt64])
    func `whoever believes what of whom, a question goes on once at most`(_ mine: UInt64, _ theirs: UInt64) {
        // Two nodes that each take the other for the owner, with any epochs.
        for (first, second) in [(1, 2), (2, 1)] {
            let (me, other) = (NodeID(UInt64(first)), NodeID(UInt64(second)))
            var (asked, hop, questions) = (other, 0, 0)
            var epoch = mine
            while questions < 10 {
                questions += 1
                let verdict = PeerRouting.judge(
                    me: asked, epoch: theirs, coordinator: asked == other ? me : other, askedAt: epoch, hop: hop)
                guard case .notOwner(let answered, let owner) = verdict else { break }
                let step = PeerRouting.after(
                    refusalBy: asked, epoch: answered, owner: owner, mine: epoch, hop: hop, me: me)
                guard case .ask(let next, let nextHop) = step else { break }
                (asked, hop, epoch) = (next, nextHop, answered)
            }
            #expect(questions <= 2)
            #expect(hop <= PeerRouting.maximumForwards)
        }
    }

    // MARK: Holds

    @Test func `what a store counts on is no garbage until it ends or its time is over`() {
        var holds = BlobHolds(maximumHolders: 2)
        let candidates = (1...3).map { (digest: digest(UInt64($0)), idle: Duration.seconds(100)) }
        let holder = holds.hold([digest(1), digest(2)], until: at(1000), now: at(0))
        let other = holds.hold([digest(2)], until: at(2000), now: at(0))
        #expect(holder != nil && other != nil)
        let outcome30 = holds.hold([digest(3)], until: at(2000), now: at(0))
        #expect(outcome30 == nil)
        #expect(holds.garbage(candidates, referenced: [], grace: .seconds(50)) == [digest(3)])
        #expect(holds.garbage(candidates, referenced: [digest(3)], grace: .seconds(50)) == [])
        #expect(holds.garbage(candidates, referenced: [], grace: .seconds(101)) == [])
        holds.sweep(at(1000), claimsOlderThan: .seconds(1))
        #expect(holds.garbage(candidates, referenced: [], grace: .seconds(50)) == [digest(1), digest(3)])
        if let other { holds.release(other) }
        #expect(holds.digestCount == 0)
    }
}
