import Coordination
import EsperTypes
import Testing

/// What the recipes of etcd's clients write below `_lock/` and `_election/`.
@Suite struct ClaimWriteTests {
    private func lockKey(_ name: String, _ session: SessionID) -> [UInt8] {
        ClaimName.key(lock: name, session: session)
    }

    private func enter(_ key: [UInt8], _ session: SessionID, _ value: String = "") -> Command {
        .put(.init(key: key, value: value.bytes, session: session))
    }

    /// As `concurrency.Mutex` asks: enter once, and say who is first.
    private func tryAcquire(_ name: String, _ session: SessionID) -> Command {
        let key = lockKey(name, session)
        let first = Transaction.Operation.range(
            .init(.prefix("_lock/\(name)/".bytes), limit: 1, sort: .init(by: .createRevision)))
        return .transaction(
            .init(
                compares: [.absent(key)], success: [.put(.init(key: key, value: [], session: session)), first],
                failure: [.range(.init(.key(key))), first]))
    }

    private func queue(_ replica: Replica, _ name: String) -> [SessionID] {
        guard case .lock(let state) = replica.machine.answer(.lock(name: name, claims: 9)).result else { return [] }
        return state?.claims.map(\.session) ?? []
    }

    private func audited(_ replica: Replica) -> [OutboxRecord.Kind] {
        replica.machine.outboxRecords(after: .zero, limit: 1000).map(\.kind).filter { $0 != .sessionGranted }
    }

    @Test func `a mutex of an etcd client and a lock of ours are one queue`() throws {
        var replica = Replica()
        let sessions = (0..<4).map { _ in replica.session() }
        guard case .transaction(let first) = replica.run(tryAcquire("train", sessions[0])),
            case .range(let owner) = first.replies[1]
        else { return wrongAnswer() }
        #expect(first.succeeded && owner.keyValues.map(\.session) == [sessions[0]])
        let token = FencingToken(owner.keyValues[0].createRevision.rawValue)
        #expect(replica.output.grants == [Grant(kind: .lock, name: "train", session: sessions[0], token: token)])
        guard case .lock(let second) = replica.run(.acquireLock(.init(name: "train", session: sessions[1]))) else {
            return wrongAnswer()
        }
        #expect(!second.isHeld && second.holder == token)
        replica.run(tryAcquire("train", sessions[2]))
        #expect(replica.output.grants.isEmpty)
        guard case .transaction(let again) = replica.run(tryAcquire("train", sessions[2])) else { return wrongAnswer() }
        #expect(!again.succeeded)
        replica.run(tryAcquire("train", sessions[3]))
        #expect(queue(replica, "train") == sessions)
        #expect(try queue(Replica(restored(replica.machine)), "train") == sessions)

        #expect(replica.run(.delete(.init(.key(lockKey("train", sessions[2]))))) == .deleted(.init(count: 1)))
        #expect(
            replica.output.departures == [.init(kind: .lock, name: "train", session: sessions[2], cause: .givenUp)])
        #expect(replica.run(.delete(.init(.key(lockKey("train", sessions[0]))))) == .deleted(.init(count: 1)))
        #expect(replica.output.departures.isEmpty)
        #expect(replica.output.grants.map(\.session) == [sessions[1]])
        #expect(replica.output.grants.map(\.token) == [second.token])
        #expect(replica.run(.releaseLock(name: "train", session: sessions[1])) == .lockReleased(wasHeld: true))
        #expect(replica.output.grants.map(\.session) == [sessions[3]])
        #expect(replica.run(.delete(.init(.key(lockKey("train", sessions[0]))))) == .deleted(.init(count: 0)))
        #expect(
            audited(replica) == [
                .lockAcquired, .lockQueued, .lockQueued, .lockQueued, .lockWaitCancelled, .lockReleased, .lockAcquired,
                .lockReleased, .lockAcquired,
            ])
    }

    @Test func `an election of an etcd client proclaims and resigns by plain writes`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        let key = ClaimName.key(election: "a/b", session: first)
        replica.run(enter(key, first, "one"))
        let token = replica.output.grants.first?.token
        replica.run(.campaign(election: "a/b", session: second, value: "two".bytes))
        guard let token else { return wrongAnswer() }
        let proclaim = Transaction(
            compares: [Compare(.key(key), .equal, .createRevision(Revision(token.rawValue)))],
            success: [.put(.init(key: key, value: "more".bytes, session: first, returnsPrevious: true))])
        guard case .transaction(let done) = replica.run(.transaction(proclaim)), case .put(let put) = done.replies[0]
        else { return wrongAnswer() }
        #expect(put.previous?.value == "one".bytes && replica.output.grants.isEmpty)
        guard case .electionLeader(let leader?) = replica.machine.answer(.electionLeader(name: "a/b")).result else {
            return wrongAnswer()
        }
        #expect(leader.session == first && leader.token == token && leader.keyValue.value == "more".bytes)
        replica.run(
            .transaction(
                .init(compares: proclaim.compares, success: [.delete(.init(.key(key), returnsPrevious: true))])))
        #expect(replica.output.grants.map(\.session) == [second])
        #expect(
            audited(replica) == [.electionWon, .electionJoined, .electionProclaimed, .electionResigned, .electionWon])
    }

    @Test func `one transaction may hand a lock over`() {
        var replica = Replica()
        let (first, second, third) = (replica.session(), replica.session(), replica.session())
        replica.run(enter(lockKey("a", first), first))
        let change = Transaction(success: [
            .put(.init(key: lockKey("a", second), value: [], session: second)),
            .delete(.init(.key(lockKey("a", first)))),
            .put(.init(key: lockKey("b", second), value: [], session: second)),
            .put(.init(key: "plain".bytes, value: [])),
        ])
        replica.run(.transaction(change))
        #expect(replica.output.grants.map(\.name) == ["a", "b"])
        #expect(replica.output.grants.allSatisfy { $0.session == second })
        let revision = replica.machine.revision
        let both = Transaction(success: [
            .put(.init(key: lockKey("c", second), value: [], session: second)),
            .transaction(.init(success: [.put(.init(key: lockKey("c", third), value: [], session: third))])),
        ])
        #expect(replica.run(.transaction(both)) == .refused(.reservedKey), "both would have one token")
        #expect(replica.machine.revision == revision)
    }

    @Test func `only the well-formed claim of its own session is a claim`() {
        var replica = Replica()
        let (session, other) = (replica.session(), replica.session())
        func put(_ key: String, _ owner: SessionID?) -> CommandResult {
            replica.run(.put(.init(key: key.bytes, value: [], session: owner)))
        }
        let mine = session.description
        for key in [
            "_lock/\(mine)", "_lock//\(mine)", "_lock/a/b/\(mine)", "_lock/a%2fb/\(mine)", "_lock/a%/\(mine)",
            "_lock/a%41/\(mine)", "_lock/a/\(mine.uppercased())X", "_lock/a/x\(mine)", "_lock/a/\(mine)/", "_lock/a/7",
            "_lock/\(String(repeating: "n", count: 1025))/\(mine)", "_election/a/", "_lock/a/+\(mine.dropFirst())",
        ] {
            #expect(put(key, session) == .refused(.reservedKey), "\(key)")
        }
        #expect(
            replica.run(.put(.init(key: "_lock/".bytes + [0xff] + "/\(mine)".bytes, value: [], session: session)))
                == .refused(.reservedKey))
        #expect(put("_lock/a/\(mine)", nil) == .refused(.reservedKey))
        #expect(put("_lock/a/\(mine)", other) == .refused(.reservedKey))
        let gone = SessionID(0xabcd)
        #expect(put("_lock/a/\(gone)", gone) == .refused(.sessionNotFound(gone)))
        let key = lockKey("a%2F/", session)
        #expect(
            replica.run(.put(.init(key: key, value: [], keepsSession: true))) == .refused(.keyNotFound))
        #expect(replica.run(.put(.init(key: key, value: [], session: session))) == .put(PutReply()))
        #expect(replica.output.grants.map(\.name) == ["a%2F/"])
        #expect(replica.run(.put(.init(key: key, value: [1], keepsSession: true))) == .put(PutReply()))
        #expect(replica.run(.put(.init(key: key, value: [], session: session, keepsValue: true))) == .put(PutReply()))
        #expect(replica.machine.keyspace.live.value(for: key)?.value == [1])
        #expect(replica.run(.delete(.init(.prefix("_lock/a".bytes)))) == .refused(.reservedKey))
        #expect(replica.run(.revokeSession(session)) == .sessionEnded(session, keys: 1))
    }

    @Test func `an answer too large takes claims back too`() {
        var replica = Replica()
        let (first, second) = (replica.session(), replica.session())
        for key in 0..<30 {
            replica.run(.put(.init(key: "k\(key)".bytes, value: [UInt8](repeating: 1, count: 50_000))))
        }
        for session in [first, second] { replica.run(.acquireLock(.init(name: "a", session: session))) }
        let hash = replica.machine.keyspace.revision
        let greedy = Transaction(success: [
            .delete(.init(.key(lockKey("a", first)))), .delete(.init(.key(lockKey("a", second)))),
            .put(.init(key: lockKey("b", first), value: [], session: first)), .range(.init(.prefix("k".bytes))),
        ])
        #expect(replica.run(.transaction(greedy)) == .refused(.replyTooLarge))
        #expect(replica.output.grants.isEmpty && replica.output.departures.isEmpty && replica.output.events.isEmpty)
        #expect(queue(replica, "a") == [first, second] && queue(replica, "b").isEmpty)
        #expect(replica.machine.revision == hash)
    }

    @Test func `no claim is made while the outbox is full, and each can be given up`() {
        var replica = Replica()
        let session = replica.session()
        replica.run(enter(lockKey("a", session), session))
        replica.run(.configure(.init(maximumOutboxRecords: 1)))
        #expect(replica.run(enter(lockKey("b", session), session)) == .refused(.outboxFull))
        #expect(replica.run(.delete(.init(.key(lockKey("a", session))))) == .deleted(.init(count: 1)))
    }
}
