import CacheCore
import Coordination
import EsperTypes

// What lies in entries and snapshots.
extension Subject {
    /// A principal that is no text is read as one that is; it comes from certificates, where there is none such.
    static let envelopes = Subject("command envelopes", .stable, samples: commands.map { envelope($0).encoded() }) {
        bytes in (try? Envelope(decoding: bytes))?.encoded()
    }

    /// The first frame's records, under right lengths, checksums and digest.
    static let snapshots = Subject("snapshot content", .stable, samples: [SnapshotStream.sample.body], share: 0.1) {
        body in SnapshotStream.again(body)
    }

    /// The stream as it is: frames and the end.
    static let streams = Subject("snapshot streams", .stable, samples: [SnapshotStream.sample.stream], share: 0.1) {
        stream in SnapshotStream.decoded(stream).map { SnapshotStream.encoded($0) }
    }

    /// A state with something of everything.
    static var sampleState: StateMachine { SnapshotStream.sample.state }

    /// What a snapshot with this first frame holds; nil when it is refused.
    static func state(of body: [UInt8]) -> StateMachine? { SnapshotStream.state(of: body) }

    fileprivate static let commands: [Command] = [
        .put(.init(key: [1, 2], value: [3, 4, 5], session: SessionID(3), returnsPrevious: true)),
        .put(.init(key: [107], value: [], keepsValue: true, keepsSession: true)),
        .delete(.init(.prefix([107]), returnsPrevious: true)),
        .transaction(
            .init(
                compares: [
                    Compare(.key([97]), .less, .value([120])), Compare(.all, .equal, .version(1)),
                    Compare(.from([97]), .notEqual, .createRevision(Revision(2))),
                    Compare(.key([97]), .equal, .session(nil)),
                ],
                success: [
                    .put(.init(key: [97], value: [])),
                    .range(.init(.all, limit: 3, keysOnly: true, sort: .init(by: .value, .descending))),
                    .transaction(.init(success: [.delete(.init(.key([122])))])),
                ], failure: [.range(.init(.key([1]), countOnly: true))])),
        .compact(through: Revision(9)), .grantSession(ttl: .milliseconds(1500), label: "räder"),
        .revokeSession(SessionID(4)), .expireSessions([SessionID(4), SessionID(5)], term: Term(3)),
        .grantSession(id: SessionID(7), ttl: .seconds(2)),
        .expireSessions([SessionID(4)], term: Term(3), knownThrough: LogIndex(8)),
        .acquireLock(.init(name: "ä/b", session: SessionID(1), waits: false)),
        .releaseLock(name: "a", session: SessionID(1)), .cancelLockWait(name: "a", session: SessionID(1)),
        .campaign(election: "e", session: SessionID(1), value: [1]),
        .proclaim(election: "e", session: SessionID(1), value: [2]), .resign(election: "e", session: SessionID(1)),
        .registerClient, .acknowledgeOutbox(through: .init(index: LogIndex(4), ordinal: 2)),
        .configure(.init(auditsCoordination: false, auditedPrefixes: [[1], []], maximumOutboxRecords: 5)),
        .record([.init(kind: .membershipChanged, subject: "n2", fields: [.init("role", "voter")])], term: Term(2)),
        .admitMember(
            NewMember(
                name: "n4", peer: HostPort(host: "127.0.0.1", port: 1), api: HostPort(host: "127.0.0.1", port: 2),
                zone: "z")),
        .noteMember(NodeID(1), isEnrolled: true, incarnation: Incarnation(9)), .forgetMember(NodeID(2)),
        newToken, .revokeJoinToken(JoinTokenID(7)), redemption,
        .auth(.addUser(name: "root", passwordHash: [1, 2])), .auth(.grantRole(user: "root", role: "root")),
        .auth(.grantPermission(role: "r", .init(.prefix([97]), .readWrite))),
        .auth(.enable(secret: [UInt8](repeating: 7, count: 32))), .cache(.change(cacheChanges)),
        .cache(.expire([.init([116, 47], LogIndex(3))])),
        .cache(.noteTiers([.init([116, 47], LogIndex(3), TierSet(.archive))])),
        .cache(.forgetTombstones(through: LogIndex(9))),
    ]

    fileprivate static let cacheChanges: [CacheChange] = [
        .bind(
            CacheBind(
                name: [116, 47, 97], kind: .alias, manifest: Digest(words: 1, 2, 3, 4), size: 5, costMilliseconds: 6,
                mode: .memory, tiers: TierSet(.peer), lineage: Digest(words: 5, 6, 7, 8), expiry: .after(.seconds(1)),
                condition: .version(nil))),
        .bind(
            CacheBind(
                name: [116, 47, 98], kind: .action, manifest: Digest(words: 1, 2, 3, 4), size: 5,
                tiers: TierSet(.redis),
                expiry: .at(9), condition: .byKind)),
        .evict([116, 47, 99], version: nil), .quarantine([116, 47, 100], version: LogIndex(4)),
    ]

    fileprivate static let newToken = Command.createJoinToken(
        NewJoinToken(
            id: JoinTokenID(7), secretDigest: [UInt8](repeating: 1, count: 32), nodeName: "n5", uses: 2,
            ttl: .seconds(60)))

    fileprivate static let redemption = Command.redeemJoinToken(
        JoinTokenRedemption(
            token: JoinTokenID(7), secretDigest: [UInt8](repeating: 1, count: 32),
            keyDigest: [UInt8](repeating: 2, count: 32),
            member: NewMember(
                name: "n5", peer: HostPort(host: "127.0.0.1", port: 3), api: HostPort(host: "127.0.0.1", port: 4))))

    fileprivate static func envelope(_ command: Command) -> Envelope {
        Envelope(
            time: 77, proposal: ProposalID(origin: NodeID(1), boot: 2, number: 3),
            request: RequestID(client: ClientID(4), sequence: 5, acknowledgedThrough: 2), principal: "client/alice",
            command: command)
    }
}

private enum SnapshotStream {
    private static let preludeBytes = 10
    private static let headerBytes = 8

    /// A state with something of everything, and its one frame.
    static let sample: (state: StateMachine, stream: [UInt8], body: [UInt8], end: [UInt8]) = {
        var machine = StateMachine()
        var output = ApplyOutput()
        func apply(_ command: Command, request: RequestID? = nil) {
            let envelope = Envelope(
                time: 5, proposal: ProposalID(origin: NodeID(1), boot: 2, number: 3), request: request,
                principal: "client/alice", command: command)
            machine.apply(index: machine.applied.index.next, term: Term(1), payload: envelope.encoded(), into: &output)
        }
        apply(.grantSession(ttl: .seconds(5), label: "label"))
        apply(.registerClient)
        apply(.configure(.init(auditedPrefixes: [[107]], maximumOutboxRecords: 50)))
        for number in 0..<6 as Range<UInt8> {
            apply(
                .put(.init(key: [107, number % 3], value: [number], session: number == 2 ? SessionID(1) : nil)),
                request: RequestID(client: ClientID(2), sequence: UInt64(number) + 1))
        }
        apply(.delete(.init(.key([107, 0]))))
        apply(.put(.init(key: [107, 9], value: [])))
        apply(.compact(through: Revision(8)))
        apply(.acquireLock(.init(name: "lock", session: SessionID(1), waits: true)))
        apply(.campaign(election: "election", session: SessionID(1), value: [1]))
        apply(
            .foundMembers([
                MemberRecord(
                    id: NodeID(1), name: "n1", peer: HostPort(host: "::1", port: 7400),
                    api: HostPort(host: "h", port: 7401))
            ]))
        apply(
            .admitMember(
                NewMember(
                    name: "n4", peer: HostPort(host: "127.0.0.1", port: 1), api: HostPort(host: "127.0.0.1", port: 2),
                    zone: "z")))
        apply(Subject.newToken)
        apply(Subject.redemption)
        for command in [
            AuthCommand.addUser(name: "u", passwordHash: [1, 2]), .addRole(name: "r"), .grantRole(user: "u", role: "r"),
            .grantPermission(role: "r", .init(.prefix([97]), .readWrite)),
            .grantPermission(role: "r", .init(.key([97]), .read)),
        ] { apply(.auth(command)) }
        apply(.cache(.change(Subject.cacheChanges)))
        apply(
            .cache(
                .bind([
                    CacheBind(name: [116, 47], kind: .action, manifest: Digest(words: 1, 2, 3, 4), size: 5, tiers: [])
                ])))
        apply(
            .cache(
                .bind([
                    CacheBind(name: [116, 47], kind: .action, manifest: Digest(words: 2, 2, 3, 4), size: 5, tiers: [])
                ])))
        apply(.cache(.evict([116, 47, 98])))
        let stream = encoded(machine)
        let start = preludeBytes + headerBytes
        let length = Int(stream[preludeBytes]) | Int(stream[preludeBytes + 1]) << 8
        return (
            machine, stream, Array(stream[start..<start + length]), Array(stream[(start + length + headerBytes)...])
        )
    }()

    static func encoded(_ machine: StateMachine) -> [UInt8] { SnapshotEncoder(machine).flatMap { $0 } }

    static func decoded(_ stream: [UInt8]) -> StateMachine? {
        var decoder = SnapshotDecoder()
        do {
            try decoder.feed(stream)
            return try decoder.finish()
        } catch {
            return nil
        }
    }

    /// - Returns: the first frame of what was decoded.
    static func again(_ body: [UInt8]) -> [UInt8]? {
        guard let machine = state(of: body) else { return nil }
        let written = encoded(machine)
        let length = Int(written[preludeBytes]) | Int(written[preludeBytes + 1]) << 8
        return Array(written[(preludeBytes + headerBytes)...].prefix(length))
    }

    /// Decodes a first frame under a right length, checksum and digest.
    static func state(of body: [UInt8]) -> StateMachine? {
        let prelude = Array(sample.stream[..<preludeBytes])
        var digest = Digest64(seed: UInt64(prelude[8]) | UInt64(prelude[9]) << 8)
        digest.add(body)
        var hash = ByteWriter()
        hash.write(digest.value)
        return decoded(prelude + frame(body) + frame(Array(sample.end.dropLast(8)) + hash.bytes))
    }

    private static func frame(_ body: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(body.count))
        writer.write(CRC32C.checksum(body))
        return writer.bytes + body
    }
}
