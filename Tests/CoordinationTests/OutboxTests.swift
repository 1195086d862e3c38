import Coordination
import EsperTypes
import Testing

@Suite struct OutboxTests {
    private func kinds(_ replica: Replica) -> [String] {
        replica.machine.outboxRecords(after: .zero, limit: 1000).map(\.kind.name)
    }

    @Test func `coordination is recorded in order, with who, what, when and where`() {
        var replica = Replica()
        replica.principal = "client/alice"
        let alice = replica.session()
        replica.run(.acquireLock(.init(name: "a", session: alice)), time: 50)
        replica.principal = "client/bob"
        let bob = replica.session()
        replica.run(.acquireLock(.init(name: "a", session: bob)))
        replica.run(.revokeSession(alice))
        let records = replica.machine.outboxRecords(after: .zero, limit: 1000)
        #expect(
            records.map(\.kind.name) == [
                "session.granted", "lock.acquired", "session.granted", "lock.queued", "lock.released",
                "session.revoked", "lock.acquired",
            ])
        #expect(
            records.map(\.actor) == [
                "client/alice", "client/alice", "client/bob", "client/bob", "client/alice", "client/bob", "client/bob",
            ])
        #expect(records.map(\.id.description) == ["1.0", "2.0", "3.0", "4.0", "5.0", "5.1", "5.2"])
        #expect(records[1].time == 50 && records[6].time == 50)
        #expect(records[1].fields[0] == .init("token", "2"))
        #expect(records[4].revision == Revision(4))
        #expect(replica.output.outboxGrew)
        #expect(replica.machine.outboxRecords(after: records[4].id, limit: 1) == [records[5]])
    }

    @Test func `acknowledging forgets records once, in order`() {
        var replica = Replica()
        for _ in 0..<5 { _ = replica.session() }
        let through = OutboxRecord.ID.all(of: LogIndex(3))
        let last = OutboxRecord.ID(index: LogIndex(3), ordinal: 0)
        #expect(replica.run(.acknowledgeOutbox(through: through)) == .outboxAcknowledged(through: last))
        #expect(replica.run(.acknowledgeOutbox(through: through)) == .outboxAcknowledged(through: last))
        #expect(replica.run(.acknowledgeOutbox(through: .zero)) == .outboxAcknowledged(through: last))
        #expect(replica.machine.outboxRecords(after: .zero, limit: 10).map(\.id.index.rawValue) == [4, 5])
    }

    @Test func `a full outbox refuses beginnings and lets everything end`() {
        var replica = Replica()
        let session = replica.session()
        replica.run(.acquireLock(.init(name: "a", session: session)))
        replica.run(.configure(.init(auditedPrefixes: ["audit/".bytes], maximumOutboxRecords: 3)))
        #expect(replica.run(.grantSession(ttl: .seconds(1))) == .refused(.outboxFull))
        #expect(replica.run(.acquireLock(.init(name: "b", session: session))) == .refused(.outboxFull))
        #expect(replica.run(.campaign(election: "b", session: session, value: [])) == .refused(.outboxFull))
        #expect(replica.put("audit/x", "1") == .refused(.outboxFull))
        #expect(replica.run(.delete(.init(.prefix("aud".bytes)))) == .refused(.outboxFull))
        #expect(
            replica.run(.transaction(.init(success: [.put(.init(key: "audit/x".bytes, value: []))])))
                == .refused(.outboxFull))
        #expect(replica.put("plain", "1") == .put(PutReply()))
        // What is held already is answered, and may end.
        guard case .lock = replica.run(.acquireLock(.init(name: "a", session: session))) else {
            return wrongAnswer()
        }
        #expect(replica.run(.releaseLock(name: "a", session: session)) == .lockReleased(wasHeld: true))
        #expect(replica.run(.expireSessions([session], term: Term(1))) == .sessionsExpired(count: 1))
        #expect(kinds(replica).suffix(2) == ["lock.released", "session.expired"])
        replica.run(.acknowledgeOutbox(through: .all(of: LogIndex(1000))))
        #expect(replica.put("audit/x", "1") == .put(PutReply()))
        #expect(kinds(replica) == ["key.put"])
    }

    @Test func `a leader's record is refused when its term is over`() {
        var replica = Replica()
        let note = OutboxNote(kind: .leadershipStarted, subject: "n1", fields: [.init("term", "1")])
        #expect(replica.run(.record([note], term: Term(1))) == .recorded)
        replica.term = Term(2)
        #expect(replica.run(.record([note], term: Term(1))) == .refused(.staleTerm(Term(2))))
        #expect(replica.run(.record([note], term: nil)) == .recorded)
        #expect(kinds(replica) == ["leadership.started", "leadership.started"])
    }

    @Test func `nothing is recorded when auditing is off`() {
        var replica = Replica()
        replica.run(.configure(.init(auditsCoordination: false, maximumOutboxRecords: 0)))
        let session = replica.session()
        replica.run(.acquireLock(.init(name: "a", session: session)))
        let note = OutboxNote(kind: .leadershipStarted, subject: "n1", fields: [])
        #expect(replica.run(.record([note], term: nil)) == .recorded)
        #expect(kinds(replica).isEmpty)
        #expect(!replica.output.outboxGrew)
    }

    @Test func `the status tells how far the catalog is behind`() {
        var replica = Replica()
        replica.run(.grantSession(ttl: .seconds(1)), time: 10)
        replica.run(.grantSession(ttl: .seconds(1)), time: 20)
        replica.run(.acknowledgeOutbox(through: .all(of: LogIndex(1))))
        guard case .outboxStatus(let status) = replica.machine.answer(.outboxStatus).result else {
            return wrongAnswer()
        }
        #expect(status.count == 1)
        #expect(status.oldest == OutboxRecord.ID(index: LogIndex(2), ordinal: 0))
        #expect(status.oldestTime == 20)
        #expect(status.acknowledgedThrough == OutboxRecord.ID(index: LogIndex(1), ordinal: 0))
    }
}
