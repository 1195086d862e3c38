import Coordination
import EsperTypes
import Testing

@Suite struct ChosenSessionTests {
    private func grant(_ replica: inout Replica, _ id: UInt64) -> CommandResult {
        replica.run(.grantSession(id: SessionID(id), ttl: .seconds(5)))
    }

    @Test func `a session may choose its ID while no other has it`() {
        var replica = Replica()
        let id = SessionID(UInt64(Int64.max))
        #expect(grant(&replica, id.rawValue) == .sessionGranted(id, ttl: .seconds(5)))
        #expect(grant(&replica, id.rawValue) == .refused(.sessionExists(id)))
        replica.put("k", "v", session: id)
        #expect(replica.run(.revokeSession(id)) == .sessionEnded(id, keys: 1))
        #expect(grant(&replica, id.rawValue) == .sessionGranted(id, ttl: .seconds(5)))
        #expect(replica.get("k") == nil)
    }

    @Test(arguments: [0, UInt64(Int64.max) + 1, .max])
    func `an ID that is no positive number of 63 bits is refused`(id: UInt64) {
        var replica = Replica()
        #expect(grant(&replica, id) == .refused(.invalid(.sessionID)))
    }

    @Test func `an ID that was chosen is not given to another session`() throws {
        var replica = Replica()
        let index = replica.machine.applied.index.rawValue
        // The next three entries' own, and where the first of them goes instead.
        let elsewhere = index + 4 + (1 << 48) + 1
        for chosen in [index + 4, index + 5, elsewhere] { _ = grant(&replica, chosen) }
        let copy = Replica(try restored(replica.machine))
        let (first, second, third) = (replica.session(), replica.session(), replica.session())
        #expect(first == SessionID(index + 4 + 2 * ((1 << 48) + 1)))
        #expect(second == SessionID(index + 5 + (1 << 48) + 1))
        #expect(third == SessionID(index + 6))
        var other = copy
        #expect([other.session(), other.session(), other.session()] == [first, second, third])
    }

    @Test func `an expiry spares a session that began after it was proposed`() throws {
        var replica = Replica()
        _ = grant(&replica, 1000)
        let known = replica.machine.applied.index
        let expiry = Command.expireSessions([SessionID(1000)], term: Term(1), knownThrough: known)
        replica.run(.revokeSession(SessionID(1000)))
        _ = grant(&replica, 1000)
        var copy = Replica(try restored(replica.machine))
        #expect(replica.run(expiry) == .sessionsExpired(count: 0))
        #expect(copy.run(expiry) == .sessionsExpired(count: 0))
        let later = Command.expireSessions(
            [SessionID(1000)], term: Term(1), knownThrough: replica.machine.applied.index)
        #expect(replica.run(later) == .sessionsExpired(count: 1))
    }

    @Test func `the clock follows a session that ends and begins again`() {
        var clock = SessionClock()
        let grant = SessionGrant(id: SessionID(9), ttl: .seconds(1))
        clock.granted(grant, at: .zero)
        let due = Instant.zero + .seconds(2)
        #expect(clock.expired(at: due, limit: 10) == [SessionID(9)])
        for change in [SessionChange.ended(SessionID(9)), .granted(grant)] { clock.changed(change, at: due) }
        #expect(clock.remaining(SessionID(9), at: due) == .seconds(1))
        clock.proposalFailed([SessionID(9)], retryAt: .zero)
        #expect(clock.count == 1 && clock.expired(at: due, limit: 10).isEmpty)
        #expect(clock.expired(at: due + .seconds(1), limit: 10) == [SessionID(9)])
    }

    @Test func `a lease of etcd may live longer than a session of ours`() {
        let week = Duration.seconds(7 * 24 * 3600)
        #expect(throws: Never.self) { try Command.grantSession(id: SessionID(3), ttl: week).validate() }
        #expect(throws: InvalidCommand.ttlOutOfRange) { try Command.grantSession(ttl: week).validate() }
        #expect(throws: InvalidCommand.ttlOutOfRange) {
            try Command.grantSession(id: SessionID(3), ttl: CoordinationLimits.maximumChosenTTL + .seconds(1))
                .validate()
        }
    }
}
