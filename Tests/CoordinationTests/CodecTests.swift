import CacheCore
import Coordination
import EsperTypes
import Testing

@Suite struct CodecTests {
    static let commands: [Command] =
        [
            .put(.init(key: "k".bytes, value: "v".bytes, session: SessionID(3), returnsPrevious: true)),
            .put(.init(key: "k".bytes, value: [], keepsValue: true, keepsSession: true)),
            .delete(.init(.prefix("k".bytes), returnsPrevious: true)),
            .transaction(
                .init(
                    compares: [
                        Compare(.key("a".bytes), .less, .value("x".bytes)), Compare(.all, .equal, .version(1)),
                        Compare(.from("a".bytes), .notEqual, .createRevision(Revision(2))),
                        Compare(.key("a".bytes), .greater, .modRevision(Revision(2))),
                        Compare(.key("a".bytes), .equal, .session(SessionID(2))),
                        Compare(.key("a".bytes), .equal, .session(nil)),
                    ],
                    success: [
                        .put(.init(key: "a".bytes, value: [])),
                        .range(.init(.all, limit: 3, keysOnly: true, sort: .init(by: .value, .descending))),
                        .transaction(.init(success: [.delete(.init(.key("z".bytes)))])),
                    ], failure: [.range(.init(.key([1]), countOnly: true))])),
            .compact(through: Revision(9)), .grantSession(ttl: .milliseconds(1500)),
            .grantSession(ttl: .seconds(2), label: "räder"), .grantSession(id: SessionID(7), ttl: .seconds(2)),
            .grantSession(id: SessionID(.max), ttl: .seconds(2), label: "l"), .revokeSession(SessionID(4)),
            .expireSessions([SessionID(4), SessionID(5)], term: Term(3)),
            .expireSessions([SessionID(4)], term: Term(3), knownThrough: LogIndex(8)),
            .acquireLock(.init(name: "ä/b", session: SessionID(1), waits: false)),
            .releaseLock(name: "a", session: SessionID(1)), .cancelLockWait(name: "a", session: SessionID(1)),
            .campaign(election: "e", session: SessionID(1), value: [1]),
            .proclaim(election: "e", session: SessionID(1), value: [2]), .resign(election: "e", session: SessionID(1)),
            .cancelCandidacy(election: "e", session: SessionID(1)),
            .registerClient,
            .acknowledgeOutbox(through: .init(index: LogIndex(4), ordinal: 2)),
            .configure(.init(auditsCoordination: false, auditedPrefixes: [[1], []], maximumOutboxRecords: 5)),
            .record(
                [
                    .init(kind: .membershipChanged, subject: "n2", fields: [.init("role", "voter")]),
                    .init(kind: .leadershipStarted, subject: "n1"),
                ], term: Term(2)),
            .record([.init(kind: .administration, subject: "x")], term: nil),
            .foundMembers([
                .init(
                    id: NodeID(1), name: "n1", peer: .init(host: "a", port: 7400), api: .init(host: "::1", port: 7401),
                    zone: "z", isEnrolled: true, incarnation: Incarnation(9))
            ]),
            .admitMember(
                .init(name: "n4", peer: .init(host: "d", port: 7400), api: .init(host: "d", port: 7401), zone: "y")),
            .noteMember(NodeID(4), isEnrolled: true, incarnation: nil),
            .noteMember(NodeID(4), isEnrolled: false, incarnation: Incarnation(3)), .forgetMember(NodeID(4)),
            .createJoinToken(
                .init(
                    id: JoinTokenID(7), secretDigest: [UInt8](repeating: 5, count: 32), nodeName: "n4", uses: 2,
                    ttl: .seconds(60))), .revokeJoinToken(JoinTokenID(7)),
            .redeemJoinToken(
                .init(
                    token: JoinTokenID(7), secretDigest: [UInt8](repeating: 5, count: 32),
                    keyDigest: [UInt8](repeating: 6, count: 32),
                    member: .init(name: "n4", peer: .init(host: "d", port: 7400), api: .init(host: "d", port: 7401)))),
        ] + authCommands.map(Command.auth) + cacheCommands.map(Command.cache)

    private static let cacheCommands: [CacheCommand] = [
        .change([
            .bind(
                CacheBind(
                    name: "t/a".bytes, kind: .alias, manifest: Digest(words: 1, 2, 3, 4), size: 5, costMilliseconds: 6,
                    mode: .archived, tiers: .all, lineage: Digest(words: 5, 6, 7, 8), expiry: .after(.seconds(1)),
                    condition: .version(LogIndex(1)))),
            .bind(
                CacheBind(
                    name: "t/b".bytes, kind: .action, manifest: Digest(words: 1, 2, 3, 4), size: 0, tiers: [],
                    expiry: .at(9), condition: .version(nil))),
            .evict("t/c".bytes, version: nil), .evict("t/d".bytes, version: LogIndex(3)),
            .quarantine("t/e".bytes, version: LogIndex(4)),
        ]), .expire([.init("t/a".bytes, LogIndex(1))]),
        .noteTiers([.init("t/a".bytes, LogIndex(1), TierSet(.archive))]), .forgetTombstones(through: LogIndex(7)),
    ]

    private static let authCommands: [AuthCommand] = [
        .enable(secret: [UInt8](repeating: 9, count: 32)), .disable, .addUser(name: "ä", passwordHash: [1, 2]),
        .deleteUser(name: "u"), .changePassword(user: "u", passwordHash: []), .grantRole(user: "u", role: "r"),
        .revokeRole(user: "u", role: "r"), .addRole(name: "r"), .deleteRole(name: "r"),
        .grantPermission(role: "r", .init(.prefix("a".bytes), .readWrite)),
        .grantPermission(role: "r", .init(.from("a".bytes), .read)), .revokePermission(role: "r", .key("a".bytes)),
    ]

    private func envelope(_ command: Command, request: Bool = true) -> Envelope {
        Envelope(
            time: 77, proposal: ProposalID(origin: NodeID(1), boot: 2, number: 3),
            request: request ? RequestID(client: ClientID(4), sequence: 5, acknowledgedThrough: 2) : nil,
            principal: "client/alice", command: command)
    }

    @Test(arguments: commands)
    func `every command survives its encoding`(command: Command) throws {
        for request in [true, false] {
            let original = envelope(command, request: request)
            #expect(try Envelope(decoding: original.encoded()) == original)
        }
    }

    @Test(arguments: commands)
    func `an envelope cut at any byte is refused`(command: Command) {
        let bytes = envelope(command).encoded()
        for end in bytes.indices {
            #expect(throws: DecodingError.self) { try Envelope(decoding: Array(bytes[..<end])) }
        }
        #expect(throws: DecodingError.trailingBytes(1)) { try Envelope(decoding: bytes + [0]) }
    }

    @Test(arguments: commands)
    func `any flipped bit is applied or refused alike, and never traps`(command: Command) {
        let bytes = envelope(command).encoded()
        var first = Replica()
        var second = Replica()
        for position in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[position] ^= 1 << UInt8(bit)
                first.apply(flipped)
                second.apply(flipped)
                #expect(first.output.results == second.output.results)
            }
        }
        #expect(first.machine.stateHash == second.machine.stateHash)
    }

    @Test func `the leader's clock is written in place`() throws {
        var bytes = envelope(.registerClient).encoded()
        #expect(Envelope.stamp(123, into: &bytes))
        let decoded = try Envelope(decoding: bytes)
        #expect(decoded.time == 123)
        #expect(decoded.principal == "client/alice")
        #expect(Envelope.proposal(of: bytes) == decoded.proposal)
        var short: [UInt8] = [1, 0, 0]
        #expect(!Envelope.stamp(1, into: &short))
        #expect(Envelope.proposal(of: short) == nil)
    }

    @Test func `an entry that cannot be read has one outcome and changes nothing else`() {
        var replica = Replica()
        replica.apply([])
        #expect(replica.output.results.isEmpty)
        #expect(replica.output.malformedEntries == [LogIndex(1)])
        var bytes = envelope(.registerClient, request: false).encoded()
        bytes[bytes.count - 1] = 250
        replica.apply(bytes)
        #expect(replica.output.results.map(\.reply.result) == [.refused(.malformed(.unknownTag(250)))])
        #expect(replica.output.malformedEntries == [LogIndex(2)])
        #expect(replica.machine.applied.index == LogIndex(2))
        #expect(replica.machine.requests.clients.isEmpty)
    }

    @Test func `random bytes never trap`() {
        var random = Seeded(5)
        var replica = Replica()
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...120, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if bytes.count > 40 {
                bytes[0] = 1
                bytes[1] &= 1
                bytes[2] = 0
                bytes[3] = 0
                bytes[36] = UInt8.random(in: 0...19, using: &random)
            }
            replica.apply(bytes)
        }
        #expect(replica.machine.applied.index == LogIndex(20_000))
    }

    @Test func `transactions nested too deeply are refused by the decoder`() {
        var nested = Transaction()
        for _ in 0..<CoordinationLimits.transactionDepth { nested = Transaction(success: [.transaction(nested)]) }
        #expect(throws: InvalidCommand.tooDeeplyNested) { try Command.transaction(nested).validate() }
        #expect(throws: DecodingError.self) { try Envelope(decoding: envelope(.transaction(nested)).encoded()) }
    }
}

@Suite struct SnapshotTests {
    /// A state with something of everything.
    private func sample() -> StateMachine {
        var source = CommandSource(seed: 4)
        var replica = Replica()
        for _ in 0..<150 {
            replica.run(source.next(), request: source.nextRequest())
            source.learn(replica.output)
        }
        return replica.machine
    }

    private func stream(_ machine: StateMachine) -> [UInt8] { SnapshotEncoder(machine).flatMap { $0 } }

    private func decode(_ bytes: [UInt8]) throws(SnapshotError) -> StateMachine {
        var decoder = SnapshotDecoder()
        try decoder.feed(bytes)
        return try decoder.finish()
    }

    @Test func `a restored state machine writes the same snapshot`() throws {
        let machine = sample()
        let bytes = stream(machine)
        #expect(try stream(restored(machine, piece: 1)) == bytes)
        #expect(try stream(restored(machine, piece: 77)) == bytes)
        #expect(try decode(bytes).stateHash == machine.stateHash)
        #expect(try decode(stream(StateMachine())).stateHash == StateMachine().stateHash)
    }

    @Test func `a snapshot cut anywhere or with any byte changed is refused`() {
        let bytes = stream(sample())
        var random = Seeded(8)
        for end in stride(from: 0, to: bytes.count, by: 7) {
            #expect(throws: SnapshotError.self) { try decode(Array(bytes[..<end])) }
        }
        for position in bytes.indices {
            var damaged = bytes
            damaged[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            #expect(throws: SnapshotError.self) { try decode(damaged) }
        }
        #expect(throws: SnapshotError.trailingBytes) { try decode(bytes + [0]) }
        var newer = bytes
        newer[8] = 8
        #expect(throws: SnapshotError.unsupportedVersion(8)) { try decode(newer) }
        #expect(throws: SnapshotError.notASnapshot) { try decode([1, 2]) }
    }

    @Test func `damage behind a good checksum is refused and never traps`() {
        let bytes = stream(sample())
        var random = Seeded(9)
        for _ in 0..<3000 {
            var damaged = bytes
            // The first frame starts after the prelude; its checksum is made to fit again.
            let length = Int(damaged[10]) | Int(damaged[11]) << 8 | Int(damaged[12]) << 16
            damaged[18 + Int.random(in: 0..<length, using: &random)] = UInt8.random(in: 0...255, using: &random)
            let checksum = CRC32C.checksum(Array(damaged[18..<18 + length]))
            withUnsafeBytes(of: checksum.littleEndian) { damaged.replaceSubrange(14..<18, with: $0) }
            if damaged == bytes { continue }
            #expect(throws: SnapshotError.self) { try decode(damaged) }
        }
    }

    @Test func `history since the compaction is in the snapshot, earlier history is not`() throws {
        var replica = Replica()
        for value in 1...20 { replica.put("a", "\(value)") }
        replica.run(.compact(through: Revision(10)))
        let copy = Replica(try restored(replica.machine))
        #expect(copy.get("a", at: Revision(10)) == "9")
        #expect(copy.get("a", at: Revision(15)) == "14")
        #expect(copy.get("a", at: Revision(9)) == nil)
        #expect(copy.machine.keyspace.log.count == 12)
    }

    @Test func `a large state is written in frames while apply goes on`() throws {
        var replica = Replica()
        for key in 0..<4000 { replica.run(.put(.init(key: "k\(key)".bytes, value: [UInt8](repeating: 1, count: 300)))) }
        let hash = replica.machine.stateHash
        var decoder = SnapshotDecoder()
        var chunks = 0
        for chunk in SnapshotEncoder(replica.machine) {
            try decoder.feed(chunk)
            chunks += 1
            for key in 0..<200 { replica.put("k\(key * 7)", "changed") }
        }
        #expect(chunks > 4)
        #expect(try decoder.finish().stateHash == hash)
    }
}
