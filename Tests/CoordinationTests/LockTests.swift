import Coordination
import EsperTypes
import Testing

@Suite struct LockTests {
    private func acquire(_ replica: inout Replica, _ name: String, _ session: SessionID, waits: Bool = true)
        -> LockReply?
    {
        guard case .lock(let reply) = replica.run(.acquireLock(.init(name: name, session: session, waits: waits)))
        else {
            return nil
        }
        return reply
    }

    @Test func `locks are granted in the order they were asked for, with growing tokens`() {
        var replica = Replica()
        let sessions = (0..<4).map { _ in replica.session() }
        let replies = sessions.map { acquire(&replica, "train", $0)! }
        #expect(replies.map(\.isHeld) == [true, false, false, false])
        #expect(Set(replies.map(\.holder)) == [replies[0].token])
        var granted: [FencingToken] = [replies[0].token]
        for session in sessions.dropLast() {
            #expect(replica.run(.releaseLock(name: "train", session: session)) == .lockReleased(wasHeld: true))
            #expect(replica.output.grants.count == 1)
            granted.append(replica.output.grants[0].token)
        }
        #expect(granted == replies.map(\.token))
        #expect(granted == granted.sorted())
    }

    @Test func `whoever waited and left is told of, and nobody else`() {
        var replica = Replica()
        let (first, second, third) = (replica.session(), replica.session(), replica.session())
        for session in [first, second, third] {
            replica.run(.acquireLock(.init(name: "a", session: session)))
            replica.run(.campaign(election: "e", session: session, value: []))
        }
        func departures(_ command: Command) -> [Departure] {
            replica.run(command)
            return replica.output.departures
        }
        #expect(
            departures(.cancelLockWait(name: "a", session: second))
                == [.init(kind: .lock, name: "a", session: second, cause: .waitEnded)])
        #expect(departures(.cancelLockWait(name: "a", session: first)).isEmpty)
        #expect(
            departures(.releaseLock(name: "a", session: third))
                == [.init(kind: .lock, name: "a", session: third, cause: .givenUp)])
        #expect(departures(.releaseLock(name: "a", session: first)).isEmpty)
        #expect(
            departures(.cancelCandidacy(election: "e", session: second))
                == [.init(kind: .election, name: "e", session: second, cause: .waitEnded)])
        #expect(
            departures(.resign(election: "e", session: third))
                == [.init(kind: .election, name: "e", session: third, cause: .givenUp)])
        #expect(departures(.resign(election: "e", session: first)).isEmpty)
    }

    @Test func `asking again answers the same token`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        let held = acquire(&replica, "a", first)
        let waiting = acquire(&replica, "a", second)
        let revision = replica.machine.revision
        #expect(acquire(&replica, "a", first) == held)
        #expect(acquire(&replica, "a", second) == waiting)
        #expect(replica.output.grants.isEmpty)
        #expect(replica.machine.revision == revision)
        replica.run(.releaseLock(name: "a", session: first))
        #expect(acquire(&replica, "a", second)?.isHeld == true)
    }

    @Test func `without waiting a held lock is refused and the queue stays as it is`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        let held = acquire(&replica, "a", first)!
        #expect(
            replica.run(.acquireLock(.init(name: "a", session: second, waits: false)))
                == .refused(.lockHeld(by: held.token)))
        guard case .lock(let state) = replica.machine.answer(.lock(name: "a", claims: 10)).result else {
            return wrongAnswer()
        }
        #expect(state?.count == 1)
        #expect(state?.holder?.session == first)
        #expect(state?.holder?.value == "client/test".bytes)
    }

    @Test func `a session's end releases its locks in one revision and grants the next`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        for name in ["a", "b"] {
            _ = acquire(&replica, name, first)
            _ = acquire(&replica, name, second)
        }
        replica.put("mine", "x", session: first)
        let revision = replica.machine.revision
        #expect(replica.run(.revokeSession(first)) == .sessionEnded(first, keys: 3))
        #expect(replica.machine.revision == revision.next)
        #expect(replica.output.grants.map(\.name) == ["a", "b"])
        #expect(replica.output.grants.allSatisfy { $0.session == second })
        #expect(replica.output.sessionsEnded == [first])
        #expect(replica.get("mine") == nil)
        #expect(replica.run(.revokeSession(first)) == .refused(.sessionNotFound(first)))
    }

    @Test func `sessions that expire together grant nothing to each other`() {
        var replica = Replica()
        let sessions = (0..<3).map { _ in replica.session() }
        for session in sessions { _ = acquire(&replica, "a", session) }
        replica.run(.expireSessions(Array(sessions.prefix(2)), term: Term(1)))
        #expect(replica.output.grants.map(\.session) == [sessions[2]])
        #expect(replica.output.sessionsEnded == Array(sessions.prefix(2)))
    }

    @Test func `leaving the queue grants nothing; a wait that is cancelled after its grant stays granted`() {
        var replica = Replica()
        let sessions = (0..<3).map { _ in replica.session() }
        let replies = sessions.map { acquire(&replica, "a", $0)! }
        #expect(replica.run(.cancelLockWait(name: "a", session: sessions[1])) == .lockReleased(wasHeld: false))
        #expect(replica.output.grants.isEmpty)
        let held = LockReply(token: replies[0].token, isHeld: true, holder: replies[0].token)
        #expect(replica.run(.cancelLockWait(name: "a", session: sessions[0])) == .lock(held))
        #expect(replica.output.grants.isEmpty)
        #expect(replica.run(.cancelLockWait(name: "a", session: sessions[1])) == .refused(.lockNotFound))
        #expect(replica.run(.releaseLock(name: "a", session: sessions[0])) == .lockReleased(wasHeld: true))
        #expect(replica.output.grants.map(\.session) == [sessions[2]])
        #expect(replica.run(.releaseLock(name: "a", session: sessions[0])) == .refused(.lockNotFound))
    }

    @Test func `names that look like each other's keys are different locks`() {
        var replica = Replica()
        let session = replica.session()
        let names = ["a", "a/b", "a%2Fb", "a/", "/", "%", "a/\(session)", "ä"]
        for name in names { #expect(acquire(&replica, name, session)?.isHeld == true) }
        guard case .locks(let found, let more) = replica.machine.answer(.locks(prefix: "", after: nil, limit: 0)).result
        else { return wrongAnswer() }
        #expect(!more)
        #expect(Set(found.map(\.name)) == Set(names))
        var paged: [String] = []
        while case .locks(let page, let more) = replica.machine.answer(
            .locks(prefix: "", after: paged.last, limit: 3)
        ).result {
            paged += page.map(\.name)
            if !more { break }
        }
        #expect(paged == found.map(\.name))
        guard case .locks(let some, _) = replica.machine.answer(.locks(prefix: "a/", after: nil, limit: 0)).result
        else { return wrongAnswer() }
        #expect(Set(some.map(\.name)) == ["a/b", "a/", "a/\(session)"])
    }

    @Test func `an expiry proposed in an earlier term is refused`() {
        var replica = Replica()
        let session = replica.session()
        replica.term = Term(2)
        #expect(replica.run(.expireSessions([session], term: Term(1))) == .refused(.staleTerm(Term(2))))
        #expect(replica.machine.sessions.contains(session))
        #expect(replica.run(.expireSessions([session], term: Term(2))) == .sessionsExpired(count: 1))
        #expect(replica.run(.expireSessions([session], term: Term(2))) == .sessionsExpired(count: 0))
    }

    @Test func `only an open session may hold anything`() {
        var replica = Replica()
        let missing = SessionID(77)
        #expect(replica.run(.acquireLock(.init(name: "a", session: missing))) == .refused(.sessionNotFound(missing)))
        #expect(
            replica.run(.campaign(election: "a", session: missing, value: [])) == .refused(.sessionNotFound(missing)))
        #expect(replica.put("k", "v", session: missing) == .refused(.sessionNotFound(missing)))
    }
}

@Suite struct ElectionTests {
    @Test func `the first candidate is elected, the next follows when it resigns`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        guard case .election(let won) = replica.run(.campaign(election: "e", session: first, value: "one".bytes)),
            case .election(let waits) = replica.run(.campaign(election: "e", session: second, value: "two".bytes))
        else { return wrongAnswer() }
        #expect(won.isElected && !waits.isElected)
        #expect(waits.leader == won.token)
        #expect(replica.run(.proclaim(election: "e", session: second, value: [])) == .refused(.notElected))
        #expect(replica.run(.proclaim(election: "e", session: first, value: "more".bytes)) == .proclaimed)
        guard case .electionLeader(let leader?) = replica.machine.answer(.electionLeader(name: "e")).result else {
            return
        }
        #expect(leader.token == won.token)
        #expect(leader.keyValue.value == "more".bytes)
        #expect(leader.keyValue.version == 2)
        #expect(replica.run(.resign(election: "e", session: first)) == .resigned(wasElected: true))
        #expect(
            replica.output.grants
                == [Grant(kind: .election, name: "e", session: second, token: waits.token)])
        #expect(replica.run(.proclaim(election: "e", session: first, value: [])) == .refused(.candidateNotFound))
        #expect(replica.run(.resign(election: "e", session: first)) == .refused(.candidateNotFound))
    }

    @Test func `a candidacy is cancelled while it waits, and stands once it is won`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        guard case .election(let won) = replica.run(.campaign(election: "e", session: first, value: [])) else {
            return wrongAnswer()
        }
        replica.run(.campaign(election: "e", session: second, value: []))
        #expect(replica.run(.cancelCandidacy(election: "e", session: second)) == .resigned(wasElected: false))
        #expect(replica.run(.cancelCandidacy(election: "e", session: second)) == .refused(.candidateNotFound))
        #expect(replica.run(.cancelCandidacy(election: "e", session: first)) == .election(won))
        #expect(replica.output.grants.isEmpty)
    }

    @Test func `campaigning again keeps the token and updates the value`() {
        var replica = Replica()
        let session = replica.session()
        guard case .election(let first) = replica.run(.campaign(election: "e", session: session, value: "1".bytes)),
            case .election(let again) = replica.run(.campaign(election: "e", session: session, value: "2".bytes))
        else { return wrongAnswer() }
        #expect(first == again)
        #expect(replica.output.events.map(\.keyValue.value) == ["2".bytes])
        replica.run(.campaign(election: "e", session: session, value: "2".bytes))
        #expect(replica.output.events.isEmpty)
    }
}
