import Coordination
import EsperTypes
import Testing

@Suite struct AuthorizationTests {
    private let denied = CommandResult.refused(.permissionDenied)
    private let ann = "client/ann"

    /// `ann` may do everything below `a/`, read below `r/`, write below `w/`, and has the lock `mine`.
    private func scene() -> Replica {
        var replica = Replica()
        replica.enableAuth()
        replica.addUser(
            "ann",
            [
                .init(.prefix("a/".bytes), .readWrite), .init(.prefix("r/".bytes), .read),
                .init(.prefix("w/".bytes), .write), .init(.prefix("_lock/mine/".bytes), .readWrite),
                .init(.prefix("_election/mine/".bytes), .readWrite),
            ])
        return replica
    }

    private func put(_ key: String, session: SessionID? = nil, previous: Bool = false) -> Command {
        .put(.init(key: key.bytes, value: [], session: session, returnsPrevious: previous))
    }

    @Test func `until it is enabled everybody may do everything, and again once it is disabled`() {
        var replica = Replica()
        for principal in ["client/x", "user/x", "", "other/x"] {
            #expect(replica.run(put("k"), as: principal) == .put(PutReply()))
            #expect(replica.machine.answer(.range(.init(.all)), to: principal).result != .refused(.permissionDenied))
        }
        replica.enableAuth()
        #expect(replica.run(put("k"), as: "client/x") == denied)
        #expect(replica.run(put("k"), as: "") == .refused(.auth(.userUnknown)))
        #expect(replica.run(put("k"), as: "user/") == .refused(.auth(.userUnknown)))
        #expect(replica.run(put("k"), as: "nodes/n1") == .refused(.auth(.userUnknown)))
        for principal in ["user/root", "client/root", "node/n1"] {
            #expect(replica.run(put("k"), as: principal) == .put(PutReply()))
        }
        replica.auth(.disable)
        #expect(replica.run(put("k"), as: "client/x") == .put(PutReply()))
    }

    @Test func `keys are read and written by permission on all of the range`() {
        var replica = scene()
        replica.run(put("r/1"))
        replica.run(put("w/1"))
        let cases: [(Command, Bool)] = [
            (put("a/x"), true), (put("a/x", previous: true), true), (put("r/x"), false), (put("w/x"), true),
            (put("w/x", previous: true), false), (put("b"), false), (put("a"), false),
            (.delete(.init(.prefix("a/".bytes))), true), (.delete(.init(.prefix("a".bytes))), false),
            (.delete(.init(.key("w/1".bytes))), true),
            (.delete(.init(.key("w/1".bytes), returnsPrevious: true)), false),
            (.delete(.init(.key("r/1".bytes))), false), (.delete(.init(.from("a/".bytes))), false),
        ]
        for (command, isPermitted) in cases {
            let result = replica.run(command, as: ann)
            #expect((result.refusal == nil) == isPermitted, "\(command): \(result)")
            if !isPermitted { #expect(result == denied) }
            #expect(replica.run(command, as: "user/ann").refusal == result.refusal)
        }
        let reads: [(KeyRange, Bool)] = [
            (.key("r/1".bytes), true), (.prefix("r/".bytes), true), (.prefix("r".bytes), false), (.all, false),
            (.key("w/1".bytes), false), (.keys(from: "r/a".bytes, before: "r/b".bytes), true),
            (.keys(from: "a/".bytes, before: "b".bytes), false),
        ]
        for (range, isPermitted) in reads {
            let result = replica.machine.answer(.range(.init(range)), to: ann).result
            #expect((result == .refused(.permissionDenied)) != isPermitted, "\(range)")
        }
    }

    @Test func `a transaction needs what all of it needs, whichever branch runs`() {
        var replica = scene()
        let (own, foreign) = (Transaction.Operation.put(.init(key: "a/1".bytes, value: [])), "b".bytes)
        let forbidden: [Transaction] = [
            Transaction(compares: [.absent(foreign)], success: [own]),
            Transaction(compares: [.absent("w/1".bytes)], success: [own]),
            Transaction(success: [own], failure: [.put(.init(key: foreign, value: []))]),
            Transaction(success: [own, .range(.init(.key(foreign)))]),
            Transaction(success: [.transaction(.init(failure: [.delete(.init(.key(foreign)))]))]),
        ]
        for transaction in forbidden {
            #expect(replica.run(.transaction(transaction), as: ann) == denied)
            #expect(replica.run(.transaction(transaction)).refusal == nil)
        }
        let allowed = Transaction(
            compares: [.absent("r/1".bytes)], success: [own, .range(.init(.prefix("r/".bytes)))],
            failure: [.delete(.init(.prefix("w/".bytes)))])
        #expect(replica.run(.transaction(allowed), as: ann).refusal == nil)
        #expect(
            replica.machine.answer(.transaction(.init(compares: [.absent(foreign)])), to: ann).result
                == .refused(.permissionDenied))
    }

    @Test func `two roles together may cover a range`() {
        var replica = scene()
        let both = Query.range(.init(.keys(from: "a/".bytes, before: "a1".bytes)))
        #expect(replica.machine.answer(both, to: ann).result == .refused(.permissionDenied))
        replica.auth(.addRole(name: "more"))
        replica.auth(.grantPermission(role: "more", .init(.keys(from: "a/x".bytes, before: "b".bytes), .read)))
        replica.auth(.grantRole(user: "ann", role: "more"))
        #expect(replica.machine.answer(both, to: ann).result != .refused(.permissionDenied))
        replica.auth(.deleteRole(name: "more"))
        #expect(replica.machine.answer(both, to: ann).result == .refused(.permissionDenied))
    }

    @Test func `a session ends, and takes keys, by whoever may write all that is attached to it`() {
        var replica = scene()
        guard case .sessionGranted(let session, _) = replica.run(.grantSession(ttl: .seconds(9)), as: ann) else {
            return wrongAnswer()
        }
        #expect(replica.run(.grantSession(ttl: .seconds(9)), as: "client/stranger") == denied)
        #expect(replica.run(put("a/1", session: session), as: ann).refusal == nil)
        #expect(replica.run(put("r/1", session: session)).refusal == nil)
        #expect(replica.run(.revokeSession(session), as: ann) == denied)
        #expect(replica.run(put("a/2", session: session), as: ann) == denied)
        let withKeys = Query.session(session, withKeys: true)
        #expect(replica.machine.answer(withKeys, to: ann).result != .refused(.permissionDenied))
        replica.run(put("w/1", session: session))
        #expect(replica.machine.answer(withKeys, to: ann).result == .refused(.permissionDenied))
        #expect(
            replica.machine.answer(.session(session, withKeys: false), to: ann).result != .refused(.permissionDenied))
        for key in ["r/1", "w/1"] { replica.run(.delete(.init(.key(key.bytes)))) }
        #expect(replica.run(.revokeSession(session), as: ann) == .sessionEnded(session, keys: 1))
    }

    @Test func `locks and elections need the right to write the claim, by whatever command`() {
        var replica = scene()
        let session = replica.session()
        for (name, isPermitted) in [("mine", true), ("other", false)] {
            let commands: [Command] = [
                .acquireLock(.init(name: name, session: session)),
                .put(.init(key: ClaimName.key(lock: name, session: session), value: [], session: session)),
                .cancelLockWait(name: name, session: session), .releaseLock(name: name, session: session),
                .campaign(election: name, session: session, value: []),
                .proclaim(election: name, session: session, value: [1]),
                .cancelCandidacy(election: name, session: session), .resign(election: name, session: session),
            ]
            for command in commands {
                #expect((replica.run(command, as: ann) == denied) != isPermitted, "\(command)")
            }
            for query in [
                Query.lock(name: name, claims: 1), .election(name: name, claims: 1), .electionLeader(name: name),
                .locks(prefix: "mine/", after: nil, limit: 0),
            ] {
                let result = replica.machine.answer(query, to: ann).result
                if case .locks = query {
                    #expect(result == .refused(.permissionDenied))
                } else {
                    #expect((result == .refused(.permissionDenied)) != isPermitted, "\(query)")
                }
            }
        }
    }

    @Test func `what is not of keys is root's, but for what every user may know of itself`() {
        var replica = scene()
        let rootOnly: [Command] = [
            .auth(.addUser(name: "u", passwordHash: [])), .auth(.disable), .auth(.grantRole(user: "ann", role: "root")),
            .configure(.init()), .record([], term: nil), .acknowledgeOutbox(through: .zero),
            .expireSessions([], term: Term(1)), .forgetMember(NodeID(4)), .revokeJoinToken(JoinTokenID(1)),
        ]
        for command in rootOnly {
            #expect(replica.run(command, as: ann) == denied, "\(command)")
            #expect(replica.run(command, as: "") == .refused(.auth(.userUnknown)), "\(command)")
        }
        let redemption = Command.redeemJoinToken(
            .init(
                token: JoinTokenID(7), secretDigest: [UInt8](repeating: 5, count: 32),
                keyDigest: [UInt8](repeating: 6, count: 32),
                member: .init(name: "n4", peer: .init(host: "d", port: 7400), api: .init(host: "d", port: 7401))))
        #expect(replica.run(redemption, as: "join-token/7") == .refused(.joinTokenUnknown))
        let hidden: [Query] = [
            .auth, .authStatus, .outboxStatus, .settings, .joinTokens, .user(name: "root"), .role(name: "root"),
            .outbox(after: .zero, limit: 1),
        ]
        for query in hidden {
            #expect(replica.machine.answer(query, to: ann).result == .refused(.permissionDenied), "\(query)")
        }
        for query in [Query.user(name: "ann"), .role(name: "of ann"), .members, .summary] {
            #expect(replica.machine.answer(query, to: ann).result != .refused(.permissionDenied), "\(query)")
        }
        #expect(replica.machine.answer(.user(name: "none"), to: "user/root").result == .refused(.auth(.userNotFound)))
        #expect(replica.machine.answer(.role(name: "none"), to: "user/root").result == .refused(.auth(.roleNotFound)))
        // History is everybody's.
        let compaction = Command.compact(through: replica.machine.revision)
        for stranger in ["client/stranger", ann] { #expect(replica.run(compaction, as: stranger) == denied) }
        #expect(replica.run(compaction, as: "user/root").refusal == nil)
    }

    @Test func `answers kept for a client are for the user that registered it`() throws {
        var replica = scene()
        guard case .clientRegistered(let client) = replica.run(.registerClient, as: ann) else { return wrongAnswer() }
        let request = RequestID(client: client, sequence: 1)
        func reply(_ replica: inout Replica, as principal: String) -> CommandResult {
            replica.principal = principal
            return replica.run(put("a/1", previous: true), request: request)
        }
        #expect(reply(&replica, as: ann) == .put(PutReply()))
        var copy = replica
        copy.machine = try restored(replica.machine)
        for principal in ["client/stranger", "user/root", "", "node/n1"] {
            #expect(reply(&replica, as: principal) == .refused(.clientUnknown(client)))
            #expect(reply(&copy, as: principal) == .refused(.clientUnknown(client)))
        }
        #expect(reply(&replica, as: "user/ann") == .put(PutReply()) && replica.output.results[0].isDuplicate)
    }

    @Test func `a refusal for want of permission changes nothing and is alike on every replica`() {
        var replica = scene()
        var other = replica
        let revision = replica.machine.revision
        for command in [put("b"), .delete(.init(.all)), .auth(.disable)] {
            #expect(replica.run(command, as: ann) == other.run(command, as: ann))
        }
        #expect(replica.machine.revision == revision && replica.machine.auth.isEnabled)
        #expect(replica.machine.applyChain == other.machine.applyChain)
    }
}
