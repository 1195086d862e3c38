import EsperTypes
import NIOCore
import PeerTransport
import RaftCore

/// Frames as bytes, and back.
enum Wire {
    private static func id(_ term: UInt64, _ index: UInt64) -> EntryID {
        EntryID(term: Term(term), index: LogIndex(index))
    }

    private static let append = AppendEntries(
        term: Term(7), session: SessionNonce(3), readSequence: ReadSequence(4), previous: id(6, 9),
        commit: LogIndex(5),
        entries: [
            Entry(id: id(7, 10), kind: .noop), Entry(id: id(7, 11), kind: .command, payload: [1, 2, 3]),
            Entry(
                id: id(7, 12), kind: .configuration,
                payload: Configuration(voters: [NodeID(1), NodeID(2)]).encoded()),
        ], grant: LeaseGrant(request: 9, length: .milliseconds(800), base: LogIndex(5)))

    private static let snapshot = InstallSnapshot(
        term: Term(7), session: SessionNonce(3),
        descriptor: SnapshotDescriptor(
            id: id(6, 100), configuration: Configuration(voters: [NodeID(1), NodeID(2)], learners: [NodeID(4)]),
            configurationIndex: LogIndex(2), sizeBytes: 1 << 33, checksum: 0xdead_beef, stateHash: .max),
        offset: 8, bytes: [UInt8](repeating: 0xab, count: 20), isLast: true)

    private static func response(_ outcome: AppendEntriesResponse.Outcome) -> PeerFrame {
        .raft(
            .appendEntriesResponse(
                AppendEntriesResponse(
                    term: Term(7), session: SessionNonce(3), readSequence: ReadSequence(4), outcome: outcome)))
    }

    private static func installed(_ outcome: InstallSnapshotResponse.Outcome) -> PeerFrame {
        .raft(
            .installSnapshotResponse(
                InstallSnapshotResponse(term: Term(7), session: SessionNonce(3), outcome: outcome)))
    }

    private static let frames: [PeerFrame] = [
        .raft(.preVoteRequest(PreVoteRequest(term: Term(2), last: id(1, 9), round: .max))),
        .raft(.preVoteResponse(PreVoteResponse(term: Term(2), isGranted: true, round: 4))),
        .raft(.requestVote(RequestVote(term: Term(2), last: id(1, 9), isTransfer: false))),
        .raft(.requestVoteResponse(RequestVoteResponse(term: Term.unreachable.previous, isGranted: false))),
        .raft(.appendEntries(append)), .raft(.installSnapshot(snapshot)),
        response(.matched(durable: LogIndex(8), received: LogIndex(9))),
        response(.conflict(previous: id(6, 9), hint: id(5, 4))), response(.staleTerm),
        installed(.received(id: id(6, 100), nextOffset: 77)), installed(.installed(through: LogIndex(100))),
        installed(.staleTerm), .raft(.timeoutNow(TimeoutNow(term: Term(7), last: id(7, 30)))),
        .raft(.readIndexRequest(ReadIndexRequest(term: Term(1), number: 12))),
        .raft(.readIndexResponse(ReadIndexResponse(term: Term(7), number: 12, index: LogIndex(31)))),
        .raft(.readIndexResponse(ReadIndexResponse(term: Term(7), number: 12, index: nil))),
        .forward(
            Term(7), [ForwardedProposal(token: 1, envelope: [1, 2, 3]), ForwardedProposal(token: .max, envelope: [])]),
        .ask(9, [1, 2, 3]), .answer(9, [4, 5]), .forwardRefused([1, 2], .notLeader(hint: NodeID(3))),
        .forwardRefused([9], .storageFull),
    ]

    static let bodies: [[UInt8]] = {
        var bodies = frames.map { body(of: bytes(of: .peer($0))) }
        bodies.append(
            body(
                of: bytes(
                    of: .welcome(
                        Welcome(
                            agreed: 1, cluster: ClusterID(0xc1), node: NodeID(2), incarnation: Incarnation(0x22),
                            version: "0.1.0")))))
        for refusal in HandshakeRefusal.allCases { bodies.append(body(of: bytes(of: .refusal(refusal)))) }
        return bodies
    }()

    static let hello = body(
        of: bytes(
            of: .hello(
                Hello(
                    cluster: ClusterID(0xc1), node: NodeID(1), addressee: NodeID(2), incarnation: Incarnation(0x11),
                    link: .bulk, version: "0.1.0"))))

    private static func bytes(of frame: IncomingFrame) -> ByteBuffer {
        var buffer = ByteBuffer()
        switch frame {
        case .hello(let hello): hello.append(to: &buffer)
        case .welcome(let welcome): welcome.append(to: &buffer)
        case .refusal(let refusal): refusal.append(to: &buffer)
        case .peer(let frame):
            var encoder = FrameEncoder()
            _ = encoder.append(frame, to: &buffer)
        }
        return buffer
    }

    private static func body(of frame: ByteBuffer) -> [UInt8] {
        Array(frame.readableBytesView.dropFirst(FrameEncoder.headerBytes))
    }

    static func body(of message: Message) -> [UInt8] { body(of: bytes(of: .peer(.raft(message)))) }

    /// Decodes a body under a right length and checksum; nil when it is refused.
    static func frame(of body: [UInt8]) -> IncomingFrame? {
        var buffer = ByteBuffer(integer: 0 as UInt64)
        buffer.writeBytes(body)
        _ = FrameEncoder.seal(from: 0, in: &buffer)
        var decoder = FrameDecoder()
        decoder.feed(buffer)
        return try? decoder.next(limit: Limits.peerFrameBytes)
    }

    /// Decodes a body and encodes what it says.
    static func again(_ body: [UInt8], isHello: Bool) -> [UInt8]? {
        guard let frame = frame(of: body) else { return nil }
        if case .hello = frame { if !isHello { return nil } } else if isHello { return nil }
        return self.body(of: bytes(of: frame))
    }
}
