import EsperTypes
import RaftCore
import Testing

/// Reads on the strength of a young commit (LeaseGuard), and what keeps the next leader from contradicting them.
@Suite struct ReadLeaseTests {
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    private func options(_ lease: Duration) -> RaftOptions {
        var options = RaftOptions()
        options.readLease = lease
        return options
    }

    /// A leader whose no-op is committed, and whose followers would wait for so long.
    private func leader(_ lease: Duration, ada first: Duration, bob second: Duration) -> LoneNode {
        var lone = LoneNode(options: options(lease))
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected, leaseWait: first)
        _ = lone.acknowledge(LogIndex(1), from: bob, in: elected, leaseWait: second)
        return lone
    }

    private func asksFollowers(_ effects: [Effect]) -> Bool {
        (effects.appends(to: ada) + effects.appends(to: bob)).contains { $0.readSequence > .zero }
    }

    @Test func `while a commit is young reads need no round`() {
        var lone = leader(.milliseconds(100), ada: .milliseconds(100), bob: .milliseconds(100))
        let read = lone.turn(.read([1]))
        #expect(read.contains(.readReady([1], index: LogIndex(1))) && !asksFollowers(read))
        // Both clocks may be wrong by half a per cent.
        lone.now = lone.now + .milliseconds(98)
        #expect(lone.turn(.read([2])).contains(.readReady([2], index: LogIndex(1))))
        lone.now = lone.now + .milliseconds(1)
        let late = lone.turn(.read([3]))
        #expect(!late.contains(.readReady([3], index: LogIndex(1))) && asksFollowers(late))
    }

    @Test func `a voter that would wait shorter, or has not said, shortens it`() {
        var hasty = leader(.milliseconds(100), ada: .milliseconds(100), bob: .milliseconds(50))
        hasty.now = hasty.now + .milliseconds(49)
        #expect(!asksFollowers(hasty.turn(.read([1]))))
        hasty.now = hasty.now + .milliseconds(1)
        #expect(asksFollowers(hasty.turn(.read([2]))))

        var lone = LoneNode(options: options(.milliseconds(100)))
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected, leaseWait: .milliseconds(100))
        #expect(asksFollowers(lone.turn(.read([1]))))
    }

    @Test func `reads renew what would run out, and silence renews nothing`() {
        var lone = leader(.milliseconds(100), ada: .milliseconds(100), bob: .milliseconds(100))
        lone.now = lone.now + .milliseconds(80)
        #expect(lone.turn(.deadlineReached).batches.isEmpty)
        let renewing = lone.turn(.read([1]))
        #expect(renewing.batches.first?.entries.map(\.kind) == [.noop])
        let renewedAt = lone.now
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: renewing, leaseWait: .milliseconds(100))
        lone.now = renewedAt + .milliseconds(70)
        let read = lone.turn(.read([2]))
        #expect(read.contains(.readReady([2], index: LogIndex(2))) && !asksFollowers(read))
    }

    @Test func `a new leader commits nothing before what it has from others is old`() {
        var lone = LoneNode(options: options(.seconds(1)))
        lone.now = lone.now + .seconds(5)
        _ = lone.receive(append(term: 1, [entry(1, 1)]))
        let gained = lone.now
        _ = lone.sync()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        #expect(lone.node.status.commit == .zero && lone.now < gained + .seconds(1))
        // Reads wait too, and nothing is asked before there is a commit to read at.
        #expect(!asksFollowers(lone.turn(.read([1]))))
        lone.now = gained + .nanoseconds(999_999_999)
        _ = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        #expect(lone.node.status.commit == .zero)
        #expect(lone.node.nextDeadline <= gained + .seconds(1))
        lone.now = gained + .seconds(1)
        #expect(lone.turn(.deadlineReached).applied.map(\.index) == [LogIndex(1), LogIndex(2)])
    }

    @Test func `after a restart everything may be young`() {
        var lone = LoneNode(hardState: HardState(term: Term(1)), entries: [entry(1, 1)], options: options(.seconds(2)))
        let start = lone.now
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        #expect(lone.node.status.commit == .zero)
        lone.now = start + .seconds(2)
        _ = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        #expect(lone.node.status.commit == LogIndex(2))
    }

    @Test func `whoever told another to lead reads by no lease in this term again (C25)`() {
        let lease = Duration.milliseconds(100)
        var lone = leader(lease, ada: lease, bob: lease)
        #expect(!asksFollowers(lone.turn(.read([1]))))
        let began = lone.now
        let transferring = lone.turn(.transferLeadership(to: ada))
        let orders = transferring.sends.compactMap { send in
            if case .timeoutNow(let order) = send.message { order } else { nil }
        }
        #expect(orders.map(\.isLeaseReleased) == [true])
        #expect(asksFollowers(lone.turn(.read([2]))))
        // The transfer comes to nothing, and the order may still be on its way.
        let heartbeats = lone.wait(RaftOptions().heartbeatInterval)
        _ = lone.acknowledge(LogIndex(1), from: ada, in: heartbeats, leaseWait: lease)
        lone.now = began + RaftOptions().electionTimeout
        let proposed = lone.turn(.deadlineReached, .propose([Proposal(token: 1, payload: [1])]))
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: proposed, leaseWait: lease)
        #expect(lone.node.status.role == .leader && lone.node.status.commit == LogIndex(2))
        #expect(asksFollowers(lone.turn(.read([3]))))
    }

    @Test(arguments: [true, false])
    func `an order to lead says whether to wait`(isReleased: Bool) {
        var lone = LoneNode(options: options(.seconds(1)))
        _ = lone.receive(append(term: 1, [entry(1, 1)], commit: 1))
        _ = lone.sync()
        _ = lone.receive(
            .timeoutNow(TimeoutNow(term: Term(1), last: id(1, 1), isLeaseReleased: isReleased)))
        _ = lone.sync()
        let elected = lone.receive(.requestVoteResponse(RequestVoteResponse(term: Term(2), isGranted: true)))
        #expect(lone.node.status.role == .leader)
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        #expect((lone.node.status.commit == LogIndex(2)) == isReleased)
    }

    @Test func `a follower says with each answer how long it would wait`() {
        var lone = LoneNode(options: options(.milliseconds(250)))
        let answers = lone.receive(append(term: 1, [entry(1, 1)])).appendResponses
        #expect(!answers.isEmpty && answers.allSatisfy { $0.response.leaseWait == .milliseconds(250) })
    }
}
