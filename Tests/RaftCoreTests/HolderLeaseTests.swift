import EsperTypes
import RaftCore
import Testing

/// Leases by which nodes answer from their own state, and what keeps commits from contradicting them (Gray and Cheriton 1989).
@Suite struct HolderLeaseTests {
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    private var options: RaftOptions {
        var options = RaftOptions()
        options.holderLease = .seconds(1)
        return options
    }

    /// A follower's answer to the last append: everything through `index`, and a lease wanted.
    private func answer(
        _ lone: inout LoneNode, _ index: UInt64, from follower: NodeID, to effects: [Effect], request: UInt64 = 0,
        wait: Duration = .seconds(1)
    ) -> [Effect] {
        guard let append = effects.appends(to: follower).last else { return lone.turn() }
        return lone.receive(
            .appendEntriesResponse(
                AppendEntriesResponse(
                    term: append.term, session: append.session, readSequence: append.readSequence,
                    holderWait: wait, leaseRequest: request,
                    outcome: .matched(durable: LogIndex(index), received: LogIndex(index)))), from: follower)
    }

    /// A leader of a new cluster that has committed its no-op and knows that a quorum follows.
    private func leader() -> LoneNode {
        var lone = LoneNode(options: options)
        let elected = lone.becomeLeader()
        _ = lone.sync()
        let round = answer(&lone, 1, from: ada, to: elected) + answer(&lone, 1, from: bob, to: elected)
        for follower in [ada, bob] { _ = answer(&lone, 1, from: follower, to: round) }
        return lone
    }

    private func heartbeat(_ lone: inout LoneNode) -> [Effect] { lone.wait(options.heartbeatInterval) }

    /// Grants a lease to Bob.
    private func granted(_ lone: inout LoneNode) -> LeaseGrant? {
        let beat = heartbeat(&lone)
        let asked = answer(&lone, 1, from: bob, to: beat, request: 77)
        let next = asked.appends(to: bob) + heartbeat(&lone).appends(to: bob)
        return next.compactMap(\.grant).first
    }

    @Test func `a follower that asks is granted a lease that is over before the leader forgets it`() {
        var lone = leader()
        let grant = granted(&lone)
        #expect(grant?.request == 77 && grant?.base == LogIndex(1))
        // Five per cent, ten milliseconds, and what has passed since a quorum was heard.
        #expect(grant.map { $0.length > .milliseconds(600) && $0.length <= .milliseconds(940) } == true)
        #expect(lone.node.leaseHolders.map(\.node) == [bob])
    }

    @Test func `nothing is committed that a holder does not have, until its lease is over`() {
        var lone = leader()
        #expect(granted(&lone) != nil)
        let proposed = lone.turn(.propose([Proposal(token: 1, payload: [1])]))
        _ = lone.sync()
        _ = answer(&lone, 2, from: ada, to: proposed)
        #expect(lone.node.commitIndex == LogIndex(1), "a majority has it, and Bob may answer without it")
        #expect(lone.node.commitHeldSince == lone.now)
        let end = lone.node.leaseHolders[0].until
        #expect(end <= lone.now + .seconds(1))
        while lone.now < end {
            #expect(lone.node.commitIndex == LogIndex(1))
            let now = min(max(lone.node.nextDeadline, lone.now + .milliseconds(1)), end)
            let beat = lone.wait(now - lone.now)
            _ = answer(&lone, 2, from: ada, to: beat)
        }
        #expect(lone.node.commitIndex == LogIndex(2))
    }

    @Test func `what changes no answer of holders is committed without them, up to the first that does`() {
        var lone = leader()
        #expect(granted(&lone) != nil)
        let proposed = lone.turn(
            .propose([
                Proposal(token: 1, payload: [1], isGuarded: false), Proposal(token: 2, payload: [2], isGuarded: false),
                Proposal(token: 3, payload: [3]), Proposal(token: 4, payload: [4], isGuarded: false),
            ]))
        _ = lone.sync()
        _ = answer(&lone, 5, from: ada, to: proposed)
        #expect(lone.node.commitIndex == LogIndex(3), "the third command may change what Bob answers")
        #expect(lone.node.commitHeldSince == lone.now)
        _ = answer(&lone, 4, from: bob, to: proposed)
        #expect(lone.node.commitIndex == LogIndex(5) && lone.node.commitHeldSince == nil, "Bob lacks only the last")
    }

    @Test func `nobody leaves the configuration behind a holder's back`() {
        var lone = leader()
        #expect(granted(&lone) != nil)
        var proposed: [Effect] = []
        lone.node.appendConfiguration(
            Configuration(voters: [NodeID(1), ada]), at: lone.now, into: &proposed)
        proposed += lone.turn()
        _ = lone.sync()
        _ = answer(&lone, 2, from: ada, to: proposed)
        #expect(lone.node.commitIndex == LogIndex(1), "the next leader may not know of Bob")
        _ = answer(&lone, 2, from: bob, to: proposed)
        #expect(lone.node.commitIndex == LogIndex(2))
    }

    @Test func `a leader that removes itself gives up the lease that it had as a follower`() {
        var lone = LoneNode(options: options)
        _ = lone.receive(append())
        _ = lone.sync()
        let number = request(in: lone.receive(append()))
        _ = lone.receive(append(LeaseGrant(request: number, length: .milliseconds(900), base: .zero)))
        _ = lone.becomeLeader()
        #expect(lone.node.holderLease != nil)
        var effects: [Effect] = []
        for voters in [[ada, bob], [LoneNode.me, ada, bob]] {
            lone.node.appendConfiguration(Configuration(voters: voters), at: lone.now, into: &effects)
            #expect(lone.node.holderLease == nil)
        }
    }

    @Test func `nobody is granted a lease before he is a member for certain`() {
        var lone = LoneNode(voters: [LoneNode.me, ada], options: options)
        let elected = lone.becomeLeader(votes: [ada])
        _ = lone.sync()
        let round = answer(&lone, 1, from: ada, to: elected)
        _ = answer(&lone, 1, from: ada, to: round)
        // The next leader may lack the entry that takes Bob in, and would not wait for him.
        var effects: [Effect] = []
        lone.node.appendConfiguration(
            Configuration(voters: [LoneNode.me, ada], learners: [bob]), at: lone.now, into: &effects)
        effects += lone.turn() + lone.sync()
        func isGranted(adaHas index: UInt64) -> Bool {
            _ = answer(&lone, index, from: ada, to: effects)
            let asked = answer(&lone, 2, from: bob, to: effects, request: 77)
            effects = heartbeat(&lone)
            return (asked + effects).appends(to: bob).contains { $0.grant != nil }
        }
        #expect((0..<3).allSatisfy { _ in !isGranted(adaHas: 1) })
        #expect((0..<3).contains { _ in isGranted(adaHas: 2) })
    }

    @Test func `a new leader waits for who was left out, unless it is certain that he knows`() {
        /// Ada is left out by whoever leads; the others have the entry.
        func commit(by leader: NodeID, known: UInt64) -> LogIndex {
            var lone = LoneNode(options: options)
            let entry = Entry(
                id: EntryID(term: Term(1), index: LogIndex(1)), kind: .configuration,
                payload: Configuration(voters: [LoneNode.me, bob]).encoded())
            _ = lone.receive(append(entries: [entry], commit: known), from: leader)
            _ = lone.sync()
            let elected = lone.becomeLeader(votes: [bob])
            _ = lone.sync()
            _ = answer(&lone, 2, from: bob, to: elected)
            return lone.node.commitIndex
        }
        #expect(commit(by: bob, known: 0) == .zero, "Ada may not know that she was left out")
        #expect(commit(by: bob, known: 1) == LogIndex(2), "it was not committed before she knew")
        #expect(commit(by: ada, known: 0) == LogIndex(2), "she made the entry")
    }

    @Test func `leases are as long as a quorum's votes make the next leader wait`() {
        func granted(ada: Duration?, bob: Duration) -> Duration? {
            var lone = LoneNode(options: options)
            let elected = lone.becomeLeader()
            _ = lone.sync()
            _ = answer(&lone, 1, from: self.bob, to: elected, wait: bob)
            var sent = elected
            for _ in 0..<3 {
                if let ada { _ = answer(&lone, 1, from: self.ada, to: sent, wait: ada) }
                sent = answer(&lone, 1, from: self.bob, to: sent, request: 77, wait: bob) + heartbeat(&lone)
                if let grant = sent.appends(to: self.bob).compactMap(\.grant).first { return grant.length }
            }
            return nil
        }
        func isBelow(_ length: Duration?, _ limit: Duration) -> Bool {
            length.map { $0 > limit / 2 && $0 < limit } == true
        }
        #expect(isBelow(granted(ada: .zero, bob: .seconds(1)), .seconds(1)), "Bob and the leader are a quorum")
        #expect(isBelow(granted(ada: nil, bob: .milliseconds(500)), .milliseconds(500)))
        #expect(granted(ada: .zero, bob: .zero) == nil)
    }

    @Test(arguments: [Duration.zero, .seconds(1)])
    func `a leader without leases waits for those that its voters knew of`(told: Duration) {
        var lone = LoneNode(
            hardState: HardState(term: Term(1)),
            entries: [Entry(id: EntryID(term: Term(1), index: LogIndex(1)), kind: .guardedCommand, payload: [1])])
        let elected = lone.becomeLeader(votes: [ada], holderWait: told)
        let end = lone.now + told
        _ = lone.sync()
        _ = answer(&lone, 2, from: ada, to: elected)
        while lone.now < end {
            #expect(lone.node.commitIndex == .zero)
            _ = answer(&lone, 2, from: ada, to: lone.wait(min(options.heartbeatInterval, end - lone.now)))
        }
        #expect(lone.node.commitIndex == LogIndex(2))
    }

    @Test(arguments: [Duration.zero, .seconds(1)])
    func `voters with whose votes nobody waits so long come in when leases are over`(wait: Duration) {
        var lone = leader()
        #expect(granted(&lone) != nil)
        let end = lone.node.leaseHolders[0].until
        var sent: [Effect] = []
        lone.node.appendConfiguration(
            Configuration(voters: [LoneNode.me, ada, bob], learners: [NodeID(4)]), at: lone.now, into: &sent)
        sent += lone.turn() + lone.sync()
        func isCommitted() -> Bool {
            for follower in [ada, bob] { _ = answer(&lone, 2, from: follower, to: sent, wait: wait) }
            return lone.node.commitIndex == LogIndex(2)
        }
        #expect(isCommitted() == (wait > .zero))
        while lone.now < end {
            _ = isCommitted()
            sent = lone.wait(min(options.heartbeatInterval, end - lone.now))
        }
        #expect(isCommitted())
    }

    @Test func `which commands of an earlier leader are guarded is known to the next one`() {
        func inherits(_ kind: EntryKind) -> LogIndex {
            var lone = LoneNode(
                hardState: HardState(term: Term(1)),
                entries: [Entry(id: EntryID(term: Term(1), index: LogIndex(1)), kind: kind, payload: [1])],
                options: options)
            let elected = lone.becomeLeader()
            _ = lone.sync()
            _ = answer(&lone, 2, from: ada, to: elected)
            return lone.node.commitIndex
        }
        #expect(inherits(.command) == LogIndex(2), "a dead holder costs nothing")
        #expect(inherits(.guardedCommand) == .zero)
    }

    @Test func `the last guarded entry that is not applied is found, and what is in a snapshot may be one`() {
        let kinds: [EntryKind] = [.guardedCommand, .command, .configuration, .command, .noop]
        func entries(after base: UInt64) -> [Entry] {
            kinds.enumerated().map { offset, kind in
                Entry(
                    id: EntryID(term: Term(1), index: LogIndex(base + 1 + UInt64(offset))), kind: kind,
                    payload: kind == .configuration ? Configuration(voters: [NodeID(1), ada, bob]).encoded() : [])
            }
        }
        let lone = LoneNode(hardState: HardState(term: Term(1)), entries: entries(after: 0), options: options)
        let found = (0...5).map { lone.node.lastGuarded(after: LogIndex($0))?.rawValue }
        #expect(found == [3, 3, 3, nil, nil, nil])
        let snapshot = SnapshotDescriptor(
            id: EntryID(term: Term(1), index: LogIndex(7)),
            configuration: Configuration(voters: [NodeID(1), ada, bob]),
            configurationIndex: LogIndex(1), sizeBytes: 1, checksum: 0)
        let other = LoneNode(hardState: HardState(term: Term(1)), snapshot: snapshot, options: options)
        #expect(
            other.node.lastGuarded(after: LogIndex(6)) == LogIndex(7)
                && other.node.lastGuarded(after: LogIndex(7)) == nil)
    }

    @Test func `a holder that has the entry costs nothing`() {
        var lone = leader()
        #expect(granted(&lone) != nil)
        let proposed = lone.turn(.propose([Proposal(token: 1, payload: [1])]))
        _ = lone.sync()
        _ = answer(&lone, 2, from: bob, to: proposed)
        #expect(lone.node.commitIndex == LogIndex(2) && lone.node.commitHeldSince == nil)
    }

    @Test func `what a holder takes to have a change is measured from the append on, and nobody else's time is`() {
        var lone = leader()
        #expect(granted(&lone) != nil)
        func propose() -> [Effect] {
            defer { _ = lone.sync() }
            return lone.turn(.propose([Proposal(token: 1, payload: [1])]))
        }
        let first = propose()
        lone.now = lone.now + .milliseconds(7)
        _ = answer(&lone, 2, from: ada, to: first)
        lone.now = lone.now + .milliseconds(4)
        #expect(lone.node.takeHolderAcknowledgements() == [])
        _ = answer(&lone, 2, from: bob, to: first)
        #expect(lone.node.takeHolderAcknowledgements() == [.milliseconds(11)])
        #expect(lone.node.takeHolderAcknowledgements() == [])
        // The second is on its way behind the first, and is not measured beside it.
        let second = propose()
        lone.now = lone.now + .milliseconds(1)
        let third = propose()
        lone.now = lone.now + .milliseconds(1)
        _ = answer(&lone, 3, from: bob, to: second)
        _ = answer(&lone, 4, from: bob, to: third)
        #expect(lone.node.takeHolderAcknowledgements() == [.milliseconds(2)])
    }

    @Test func `a change that a holder has after its lease is over made nobody wait, and is not measured`() {
        var lone = leader()
        #expect(granted(&lone) != nil)
        var sent = lone.turn(.propose([Proposal(token: 1, payload: [1])]))
        _ = lone.sync()
        let end = lone.node.leaseHolders[0].until
        while lone.now < end {
            let beat = lone.wait(.milliseconds(50))
            if !beat.appends(to: bob).isEmpty { sent = beat }
            _ = answer(&lone, 2, from: ada, to: beat)
        }
        _ = answer(&lone, 2, from: bob, to: sent)
        #expect(lone.node.status.peers.first { $0.id == bob }?.match == LogIndex(2))
        #expect(lone.node.takeHolderAcknowledgements() == [])
    }

    @Test func `a leader that nobody follows any more grants no lease for longer than it was followed`() {
        var lone = leader()
        let beat = heartbeat(&lone)
        lone.now = lone.now + .milliseconds(949)
        let late = answer(&lone, 1, from: bob, to: beat, request: 78)
        #expect(late.appends(to: bob).allSatisfy { $0.grant == nil })
    }

    @Test func `a new leader waits for everybody who may hold a lease of the one before`() {
        var lone = LoneNode(
            hardState: HardState(term: Term(1)),
            entries: [Entry(id: EntryID(term: Term(1), index: LogIndex(1)), kind: .guardedCommand, payload: [1])],
            options: options)
        let elected = lone.becomeLeader()
        let since = lone.now
        _ = lone.sync()
        _ = answer(&lone, 2, from: ada, to: elected)
        #expect(lone.node.commitIndex == .zero, "Bob may hold a lease")
        var other = lone
        _ = answer(&other, 2, from: bob, to: elected)
        #expect(other.node.commitIndex == LogIndex(2), "Bob has the entry")
        while lone.now < since + .seconds(1) {
            #expect(lone.node.commitIndex == .zero)
            let beat = lone.wait(.milliseconds(50))
            _ = answer(&lone, 2, from: ada, to: beat)
        }
        #expect(lone.node.commitIndex == LogIndex(2))
    }

    // MARK: The holder

    private func append(_ grant: LeaseGrant? = nil, entries: [Entry] = [], commit: UInt64 = 0) -> Message {
        .appendEntries(
            AppendEntries(
                term: Term(1), session: SessionNonce(1), readSequence: .zero, previous: .zero,
                commit: LogIndex(commit), entries: entries, grant: grant))
    }

    private func request(in effects: [Effect]) -> UInt64 {
        effects.sends.compactMap {
            if case .appendEntriesResponse(let response) = $0.message { response.leaseRequest } else { nil }
        }.last ?? 0
    }

    @Test func `a holder counts from before it asked`() {
        var lone = LoneNode(options: options)
        _ = lone.receive(append())
        _ = lone.sync()
        let askedAt = lone.now
        let number = request(in: lone.receive(append()))
        #expect(number != 0 && lone.node.holderLease == nil)
        lone.now = lone.now + .milliseconds(100)
        let grant = LeaseGrant(request: number, length: .milliseconds(900), base: LogIndex(3))
        let answered = lone.receive(append(grant))
        #expect(lone.node.holderLease?.until == askedAt + .milliseconds(900))
        #expect(lone.node.holderLease?.base == LogIndex(3))
        #expect(request(in: answered) == 0, "it asks again in a while")
        lone.now = lone.now + .milliseconds(150)
        #expect(request(in: lone.receive(append())) != 0)
    }

    @Test func `grants that come twice, late or for somebody else change nothing`() {
        var lone = LoneNode(options: options)
        _ = lone.receive(append())
        _ = lone.sync()
        let number = request(in: lone.receive(append()))
        _ = lone.receive(append(LeaseGrant(request: number &+ 1, length: .seconds(1), base: .zero)))
        #expect(lone.node.holderLease == nil)
        _ = lone.receive(append(LeaseGrant(request: number, length: .milliseconds(500), base: .zero)))
        let lease = lone.node.holderLease
        lone.now = lone.now + .milliseconds(100)
        _ = lone.receive(append(LeaseGrant(request: number, length: .milliseconds(500), base: .zero)))
        #expect(lone.node.holderLease == lease && lease != nil)
    }

    @Test func `a node that is left out holds nothing`() {
        var lone = LoneNode(options: options)
        _ = lone.receive(append())
        _ = lone.sync()
        let number = request(in: lone.receive(append()))
        _ = lone.receive(append(LeaseGrant(request: number, length: .milliseconds(500), base: .zero)))
        #expect(lone.node.holderLease != nil)
        let entry = Entry(
            id: EntryID(term: Term(1), index: LogIndex(1)), kind: .configuration,
            payload: Configuration(voters: [ada, bob]).encoded())
        _ = lone.receive(append(entries: [entry]))
        #expect(lone.node.holderLease == nil)
    }
}
