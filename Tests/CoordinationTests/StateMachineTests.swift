import Coordination
import EsperTypes
import Testing

@Suite struct StateMachineTests {
    @Test func `entries that are no commands are passed over`() {
        var replica = Replica()
        replica.put("a", "1")
        let revision = replica.machine.revision
        replica.machine.skip(index: LogIndex(2), term: Term(3))
        #expect(replica.machine.applied == EntryID(term: Term(3), index: LogIndex(2)))
        #expect(replica.machine.revision == revision)
    }

    @Test func `a reply names the revision that its command made`() {
        var replica = Replica()
        for value in ["1", "2"] {
            replica.put("a", value)
            #expect(replica.output.results.last?.reply.revision == replica.machine.revision)
        }
        replica.run(.put(.init(key: "a".bytes, value: [])), request: nil)
        #expect(replica.output.results.last?.reply.revision == replica.machine.revision)
    }

    @Test func `applying an entry out of turn stops the node`() async {
        await #expect(processExitsWith: .failure) {
            var machine = StateMachine()
            var output = ApplyOutput()
            machine.apply(index: LogIndex(2), term: Term(1), payload: [], into: &output)
        }
    }

    @Test func `replicas that applied different entries differ in chain and hash`() {
        var left = Replica()
        var right = Replica()
        left.put("a", "1")
        right.put("a", "2")
        #expect(left.machine.stateHash != right.machine.stateHash)
        left = Replica()
        right = Replica()
        left.put("a", "1")
        right.machine.skip(index: LogIndex(1), term: Term(1))
        #expect(left.machine.applyChain != right.machine.applyChain)
    }

    @Test func `a million sessions are led, extended and expired without a walk over all of them`() {
        let count: UInt64 = 1_000_000
        var clock = SessionClock(
            sessions: (1...count).map { SessionGrant(id: SessionID($0), ttl: .seconds(10 + Int($0 % 3))) },
            at: Instant(nanoseconds: 1))
        clock.becameLeader(at: Instant(nanoseconds: 5_000_000_000), grace: .seconds(1))
        #expect(clock.nextDeadline == Instant(nanoseconds: 16_000_000_000))
        #expect(clock.keepAlive(SessionID(3), at: Instant(nanoseconds: 15_000_000_000)) == .seconds(10))
        let due = clock.expired(at: Instant(nanoseconds: 16_000_000_000), limit: 4096)
        #expect(due.count == 4096)
        #expect(!due.contains(SessionID(3)))
        clock.proposalFailed(due, retryAt: .zero)
        #expect(clock.expired(at: Instant(nanoseconds: 16_000_000_000), limit: 4096) == due)
    }

    @Test func `the summary counts what there is`() {
        var replica = Replica()
        let session = replica.session()
        replica.put("key", "value", session: session)
        replica.run(.acquireLock(.init(name: "a", session: session)), time: 9)
        replica.run(.registerClient)
        guard case .summary(let summary) = replica.machine.answer(.summary).result else { return wrongAnswer() }
        #expect(summary.applied == EntryID(term: Term(1), index: LogIndex(4)))
        #expect(summary.revision == Revision(3))
        #expect(summary.keys == 2 && summary.attachedKeys == 2 && summary.claims == 1)
        #expect(summary.sessions == 1 && summary.clients == 1 && summary.outboxRecords == 2)
        #expect(summary.historyRevisions == 2 && summary.time == 9)
    }

    @Test func `sessions are listed in pages and told with their keys`() {
        var replica = Replica()
        let sessions = (0..<5).map { _ in replica.session() }
        replica.put("b", "", session: sessions[1])
        replica.put("a", "", session: sessions[1])
        guard
            case .sessions(let page, let more) = replica.machine.answer(.sessions(after: sessions[0], limit: 2)).result
        else { return wrongAnswer() }
        #expect(page.map(\.id) == Array(sessions[1...2]) && more)
        #expect(page.map(\.keyCount) == [2, 0])
        guard case .session(let info?) = replica.machine.answer(.session(sessions[1], withKeys: true)).result else {
            return wrongAnswer()
        }
        #expect(info.keys == ["a".bytes, "b".bytes])
        #expect(info.principal == "client/test" && info.ttl == .seconds(10))
        #expect(replica.machine.answer(.session(SessionID(99), withKeys: true)).result == .session(nil))
    }

    @Test func `a transaction with writes is no query`() {
        let put = Transaction(failure: [.put(.init(key: "a".bytes, value: []))])
        #expect(StateMachine().answer(.transaction(put)).result == .refused(.invalid(.notReadOnly)))
    }
}
