import Coordination
import EsperTypes
import Testing

/// The keyspace as plainly as it can be written: every revision's whole contents.
struct NaiveKeyspace {
    struct Entry: Equatable {
        var value: [UInt8]
        var create: UInt64
        var mod: UInt64
        var version: UInt64
        var session: SessionID?
    }

    /// `history[r]` is the contents at revision `r`; 0 is never read.
    var history: [[[UInt8]: Entry]] = [[:], [:]]
    var current: [[UInt8]: Entry] = [:]

    var revision: UInt64 { UInt64(history.count - 1) }

    mutating func put(_ key: [UInt8], _ value: [UInt8], _ session: SessionID?) {
        let next = revision + 1
        let old = current[key]
        current[key] = Entry(
            value: value, create: old?.create ?? next, mod: next, version: (old?.version ?? 0) + 1, session: session)
    }

    mutating func commit() { if current != history.last! { history.append(current) } }

    func read(_ range: KeyRange, at revision: UInt64) -> [KeyValue] {
        history[Int(revision)].filter { range.contains($0.key) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
            .map {
                KeyValue(
                    key: $0.key, value: $0.value.value, createRevision: Revision($0.value.create),
                    modRevision: Revision($0.value.mod), version: $0.value.version, session: $0.value.session)
            }
    }
}

@Suite struct ModelTests {
    private func key(_ random: inout Seeded) -> [UInt8] {
        ["", "a", "a/", "ab", "b"].randomElement(using: &random)!.bytes + [UInt8.random(in: 48...55, using: &random)]
    }

    private func range(_ random: inout Seeded) -> KeyRange {
        switch Int.random(in: 0..<5, using: &random) {
        case 0: .key(key(&random))
        case 1: .prefix(Array(key(&random).dropLast()))
        case 2: .from(key(&random))
        case 3: .keys(from: [], before: key(&random))
        default: .all
        }
    }

    /// The naive keyspace has no reserved keys, so deletions stay below them.
    private func deletion(_ random: inout Seeded) -> KeyRange {
        Bool.random(using: &random) ? .key(key(&random)) : .keys(from: key(&random), before: "z".bytes + [1])
    }

    @Test(arguments: 1...30 as ClosedRange<UInt64>)
    func `the keyspace agrees with a naive one at every readable revision, live and restored`(seed: UInt64) throws {
        var random = Seeded(seed)
        var replica = Replica()
        var model = NaiveKeyspace()
        var sessions: [SessionID] = []
        for step in 0..<300 {
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<9:
                let (key, session) = (key(&random), sessions.randomElement(using: &random))
                let attached = Bool.random(using: &random) ? session : nil
                replica.run(.put(.init(key: key, value: "\(step)".bytes, session: attached)))
                model.put(key, "\(step)".bytes, attached)
            case 9..<12:
                let range = deletion(&random)
                let gone = model.current.keys.filter { range.contains($0) }
                if range.overlaps(.prefix("_lock/".bytes)) {
                    #expect(replica.run(.delete(.init(range))) == .refused(.reservedKey))
                    continue
                }
                #expect(replica.run(.delete(.init(range))) == .deleted(DeleteReply(count: gone.count)))
                for key in gone { model.current[key] = nil }
            case 12..<15:
                let (first, second) = (key(&random), key(&random))
                if first == second { continue }
                let branch: [Transaction.Operation] = [
                    .put(.init(key: first, value: "t".bytes)), .delete(.init(.key(second))),
                ]
                replica.run(.transaction(.init(compares: [.present(second)], success: branch)))
                if model.current[second] != nil {
                    model.put(first, "t".bytes, nil)
                    model.current[second] = nil
                }
            case 15: sessions.append(replica.session())
            case 16:
                guard let session = sessions.popLast() else { continue }
                let gone = model.current.filter { $0.value.session == session }.map(\.key)
                #expect(replica.run(.revokeSession(session)) == .sessionEnded(session, keys: gone.count))
                for key in gone { model.current[key] = nil }
            case 17:
                let low = max(replica.machine.compactedRevision.rawValue, 1)
                let through = Revision(UInt64.random(in: low...model.revision, using: &random))
                if through > replica.machine.compactedRevision { replica.run(.compact(through: through)) }
            case 18:
                replica = Replica(try restored(replica.machine, piece: Int.random(in: 1...500, using: &random)))
            default: replica.machine.skip(index: replica.machine.applied.index.next, term: Term(1))
            }
            model.commit()
            #expect(replica.machine.revision.rawValue == model.revision)
            let low = max(replica.machine.compactedRevision.rawValue, 1)
            let wanted = UInt64.random(in: low...model.revision, using: &random)
            let (asked, limit) = (range(&random), Int.random(in: 0...4, using: &random))
            let expected = model.read(asked, at: wanted)
            let reply = replica.range(.init(asked, revision: Revision(wanted), limit: limit))
            #expect(reply?.keyValues == (limit == 0 ? expected : Array(expected.prefix(limit))))
            #expect(reply?.count == expected.count)
            #expect(reply?.more == (limit > 0 && expected.count > limit))
            #expect(replica.range(.init(asked, countOnly: true))?.count == model.read(asked, at: model.revision).count)
        }
        replica.machine.keyspace.live.checkInvariants()
        replica.machine.keyspace.superseded.checkInvariants()
        replica.machine.keyspace.attachments.checkInvariants()
        #expect(
            replica.machine.keyspace.liveBytes == model.current.reduce(0) { $0 + $1.key.count + $1.value.value.count })
    }
}

/// Commands of every kind, over few names so that they meet.
struct CommandSource {
    var random: Seeded
    var sessions: [SessionID] = []
    var clients: [ClientID] = []
    private var sequence: UInt64 = 0

    init(seed: UInt64) { random = Seeded(seed) }

    mutating func next() -> Command {
        let name = ["train", "a/b", "a%2Fb", "x"].randomElement(using: &random)!
        let session = sessions.randomElement(using: &random) ?? SessionID(UInt64.random(in: 0...5, using: &random))
        let key = ["k1", "k2", "audit/1", "audit/2"].randomElement(using: &random)!.bytes
        let value = [UInt8](repeating: 7, count: Int.random(in: 0...40, using: &random))
        switch Int.random(in: 0..<29, using: &random) {
        case 0..<4: return grant()
        case 4: return .revokeSession(session)
        case 5:
            return .expireSessions(
                [session, SessionID(3)], term: Term(UInt64.random(in: 1...2, using: &random)),
                knownThrough: Bool.random(using: &random) ? LogIndex(UInt64.random(in: 1...300, using: &random)) : nil)
        case 6..<10:
            return .acquireLock(.init(name: name, session: session, waits: Int.random(in: 0..<4, using: &random) > 0))
        case 10: return .releaseLock(name: name, session: session)
        case 11: return .cancelLockWait(name: name, session: session)
        case 12, 13: return .campaign(election: name, session: session, value: value)
        case 14: return .proclaim(election: name, session: session, value: value)
        case 15:
            return Bool.random(using: &random)
                ? .resign(election: name, session: session) : .cancelCandidacy(election: name, session: session)
        case 16:
            let key = ClaimName.key(lock: name, session: session)
            return Bool.random(using: &random)
                ? .put(.init(key: key, value: value, session: session)) : .delete(.init(.key(key)))
        case 17:
            let (mine, other) = (sessions.randomElement(using: &random) ?? session, session)
            return .transaction(
                .init(
                    compares: [.absent(key)],
                    success: [
                        .put(.init(key: ClaimName.key(election: name, session: mine), value: value, session: mine)),
                        .delete(.init(.key(ClaimName.key(lock: name, session: other)))),
                    ], failure: [.delete(.init(.key(ClaimName.key(election: name, session: other))))]))
        case 18:
            return .put(.init(key: key, value: value, session: Bool.random(using: &random) ? session : nil))
        case 19: return .delete(.init(.key(key), returnsPrevious: true))
        case 20:
            return .transaction(
                .init(
                    compares: [.present(key)], success: [.delete(.init(.key(key))), .range(.init(.all, limit: 3))],
                    failure: [.put(.init(key: key, value: value, returnsPrevious: true))]))
        case 21: return .compact(through: Revision(UInt64.random(in: 1...40, using: &random)))
        case 22: return .registerClient
        case 23: return auth(name)
        case 26..<29: return .cache(CacheStateTests.random(&random, versions: 60))
        case 24: return .acknowledgeOutbox(through: .all(of: LogIndex(UInt64.random(in: 0...60, using: &random))))
        default:
            return Bool.random(using: &random)
                ? .configure(
                    .init(
                        auditedPrefixes: ["audit/".bytes], maximumOutboxRecords: Int.random(in: 5...200, using: &random)
                    ))
                : .record([.init(kind: .leadershipStarted, subject: "n1", fields: [.init("term", "1")])], term: Term(1))
        }
    }

    private mutating func auth(_ name: String) -> Command {
        let permission = AuthPermission(.prefix(name.bytes), Bool.random(using: &random) ? .read : .readWrite)
        let commands: [AuthCommand] = [
            .addUser(name: name, passwordHash: [1]), .deleteUser(name: name), .addRole(name: name),
            .deleteRole(name: name), .grantRole(user: name, role: "x"), .revokeRole(user: name, role: "x"),
            .grantPermission(role: name, permission), .revokePermission(role: name, permission.range),
        ]
        return .auth(commands.randomElement(using: &random)!)
    }

    /// Some choose an ID that an entry will have, or that another has chosen.
    private mutating func grant() -> Command {
        let ttl = Duration.seconds(Int.random(in: 1...3, using: &random))
        guard Int.random(in: 0..<3, using: &random) == 0 else { return .grantSession(ttl: ttl) }
        return .grantSession(id: SessionID(UInt64.random(in: 1...300, using: &random)), ttl: ttl)
    }

    mutating func nextRequest() -> RequestID? {
        guard let client = clients.randomElement(using: &random), Bool.random(using: &random) else { return nil }
        sequence += UInt64.random(in: 0...2, using: &random)
        let wanted = max(1, sequence)
        return RequestID(
            client: client, sequence: wanted,
            acknowledgedThrough: Bool.random(using: &random)
                ? 0 : wanted - UInt64.random(in: 1...min(4, wanted), using: &random))
    }

    mutating func learn(_ output: ApplyOutput) {
        sessions += output.sessionsGranted.map(\.id)
        sessions.removeAll { output.sessionsEnded.contains($0) && Bool.random(using: &random) }
        for result in output.results {
            if case .clientRegistered(let client) = result.reply.result { clients.append(client) }
        }
    }
}

@Suite struct DeterminismTests {
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `replicas agree on results, hash and chain, whether live or restored at any point`(seed: UInt64) throws {
        var source = CommandSource(seed: seed)
        var live = Replica()
        var other = Replica()
        for step in 0..<250 {
            let envelope = Envelope(
                time: UInt64(step) * 7 % 100, proposal: ProposalID(origin: NodeID(2), boot: 1, number: UInt64(step)),
                request: source.nextRequest(), principal: "client/\(step % 3)", command: source.next())
            let payload = envelope.encoded()
            live.apply(payload)
            other.apply(payload)
            #expect(live.output.results == other.output.results)
            #expect(live.output.events == other.output.events)
            #expect(live.output.grants == other.output.grants)
            #expect(live.output.sessionsEnded == other.output.sessionsEnded)
            source.learn(live.output)
            #expect(live.machine.applyChain == other.machine.applyChain)
            checkClaims(live.machine)
            if step % 25 == 24 {
                #expect(live.machine.stateHash == other.machine.stateHash)
                let copy = try restored(other.machine, piece: Int.random(in: 1...3000, using: &source.random))
                #expect(copy.stateHash == live.machine.stateHash)
                #expect(copy.answer(.summary).result == other.machine.answer(.summary).result)
                other = Replica(copy)
            }
        }
    }

    /// Queues are exactly the keyspace's claims, and each claim's session is open.
    private func checkClaims(_ machine: StateMachine) {
        var fromKeys: [String] = []
        for range in ClaimIndex.reserved {
            for version in machine.keyspace.versions(in: range, at: Revision(.max)) {
                let session = version.session!
                #expect(machine.sessions.contains(session))
                fromKeys.append("\(ClaimIndex.queue(ofKey: version.key)) \(version.createRevision) \(session)")
            }
        }
        let fromIndex = machine.claims.claims.cursor().map { "\($0.key.bytes) \($0.key.number) \($0.value)" }
        #expect(Set(fromKeys) == Set(fromIndex) && fromKeys.count == fromIndex.count)
    }

    @Test func `a copy stays as it is while apply goes on`() {
        var source = CommandSource(seed: 99)
        var replica = Replica()
        var copies: [(StateMachine, UInt64)] = []
        for step in 0..<400 {
            replica.run(source.next())
            source.learn(replica.output)
            if step % 20 == 0 { copies.append((replica.machine, replica.machine.stateHash)) }
        }
        for (copy, hash) in copies { #expect(copy.stateHash == hash) }
    }

    @Test func `time never runs backwards`() {
        var replica = Replica()
        replica.run(.registerClient, time: 500)
        replica.run(.registerClient, time: 400)
        #expect(replica.machine.time == 500)
    }
}
