import EsperTypes
import NIOCore
import PeerTransport
import RaftCore

func id(_ term: UInt64, _ index: UInt64) -> EntryID { EntryID(term: Term(term), index: LogIndex(index)) }

func entries(_ range: ClosedRange<UInt64>, payloadBytes: Int = 3) -> [Entry] {
    range.map {
        Entry(
            id: id(7, $0), kind: .command,
            payload: [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: payloadBytes))
    }
}

func append(_ entries: [Entry], commit: UInt64 = 5, session: UInt64 = 3) -> PeerFrame {
    .raft(
        .appendEntries(
            AppendEntries(
                term: Term(7), session: SessionNonce(session), readSequence: ReadSequence(4), previous: id(6, 9),
                commit: LogIndex(commit), entries: entries,
                grant: entries.isEmpty ? nil : LeaseGrant(request: 5, length: .milliseconds(700), base: LogIndex(4)))))
}

/// The smallest frame that carries a number, for tests of order.
func numbered(_ number: UInt64) -> PeerFrame {
    .raft(.readIndexRequest(ReadIndexRequest(term: Term(1), number: number)))
}

func number(of frame: PeerFrame) -> UInt64? {
    if case .raft(.readIndexRequest(let request)) = frame { request.number } else { nil }
}

func chunk(bytes: Int, offset: UInt64 = 0) -> PeerFrame {
    .raft(
        .installSnapshot(
            InstallSnapshot(
                term: Term(7), session: SessionNonce(3),
                descriptor: SnapshotDescriptor(
                    id: id(6, 100),
                    configuration: Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)], learners: [NodeID(4)]),
                    configurationIndex: LogIndex(2), sizeBytes: 1 << 33, checksum: 0xdead_beef, stateHash: .max),
                offset: offset, bytes: [UInt8](repeating: 0xab, count: bytes), isLast: true)))
}

/// At least one frame of every kind and of every outcome within it.
let samples: [PeerFrame] = [
    .raft(.preVoteRequest(PreVoteRequest(term: Term(2), last: id(1, 9), round: .max))),
    .raft(.preVoteResponse(PreVoteResponse(term: Term(2), isGranted: true, round: 4))),
    .raft(.requestVote(RequestVote(term: Term(2), last: id(1, 9), isTransfer: false))),
    .raft(
        .requestVoteResponse(
            RequestVoteResponse(term: Term.unreachable.previous, isGranted: false, holderWait: .milliseconds(1)))),
    append([]),
    append([Entry(id: id(7, 10), kind: .noop)]),
    append(entries(10...13)),
    .raft(.appendEntriesResponse(response(.matched(durable: LogIndex(8), received: LogIndex(9))))),
    .raft(.appendEntriesResponse(response(.conflict(previous: id(6, 9), hint: id(5, 4))))),
    .raft(.appendEntriesResponse(response(.staleTerm))),
    chunk(bytes: 5),
    .raft(.installSnapshotResponse(installed(.received(id: id(6, 100), nextOffset: 77)))),
    .raft(.installSnapshotResponse(installed(.installed(through: LogIndex(100))))),
    .raft(.installSnapshotResponse(installed(.staleTerm))),
    .raft(.timeoutNow(TimeoutNow(term: Term(7), last: id(7, 30), isLeaseReleased: true))),
    numbered(12),
    .raft(.readIndexResponse(ReadIndexResponse(term: Term(7), number: 12, index: LogIndex(31)))),
    .raft(.readIndexResponse(ReadIndexResponse(term: Term(7), number: 12, index: nil))),
    .forward(Term(7), []),
    .forward(
        Term(7), [ForwardedProposal(token: 1, envelope: [1, 2, 3]), ForwardedProposal(token: .max, envelope: [])]),
    .ask(8, []),
    .ask(9, [1, 2, 3]),
    .answer(9, [4, 5]),
    .forwardRefused([1, 2], .notLeader(hint: NodeID(3))),
    .forwardRefused([1, 2], .notLeader(hint: nil)),
    .forwardRefused([], .overloaded),
    .forwardRefused([9], .transferring),
    .forwardRefused([9], .storageStalled),
    .forwardRefused([9], .quorumUnreachable),
    .forwardRefused([9], .storageFull),
    .forwardRefused([9], .paused),
    .forwardRefused([9], .leadershipLost),
    .forwardRefused([9], .unconfirmed),
    .forwardRefused([9], .oversized),
]

private func response(_ outcome: AppendEntriesResponse.Outcome) -> AppendEntriesResponse {
    AppendEntriesResponse(
        term: Term(7), session: SessionNonce(3), readSequence: ReadSequence(4), leaseWait: .milliseconds(9),
        holderWait: .milliseconds(8), leaseRequest: 77,
        outcome: outcome)
}

private func installed(_ outcome: InstallSnapshotResponse.Outcome) -> InstallSnapshotResponse {
    InstallSnapshotResponse(term: Term(7), session: SessionNonce(3), outcome: outcome)
}

let hello = Hello(
    cluster: ClusterID(0xc1), node: NodeID(1), addressee: NodeID(2), incarnation: Incarnation(0x11), link: .bulk,
    version: "0.1.0")

/// Every frame of the wire, the handshake's included, with its bytes.
var allFrames: [(IncomingFrame, ByteBuffer)] {
    var frames: [(IncomingFrame, ByteBuffer)] = samples.map { (.peer($0), encoded($0)) }
    var buffer = ByteBuffer()
    hello.append(to: &buffer)
    frames.append((.hello(hello), buffer))
    let welcome = Welcome(
        agreed: 1, cluster: ClusterID(0xc1), node: NodeID(2), incarnation: Incarnation(0x22), version: "")
    buffer = ByteBuffer()
    welcome.append(to: &buffer)
    frames.append((.welcome(welcome), buffer))
    for refusal in HandshakeRefusal.allCases {
        buffer = ByteBuffer()
        refusal.append(to: &buffer)
        frames.append((.refusal(refusal), buffer))
    }
    return frames
}

func encoded(_ frame: PeerFrame) -> ByteBuffer {
    var (encoder, buffer) = (FrameEncoder(), ByteBuffer())
    _ = encoder.append(frame, to: &buffer)
    return buffer
}

/// A frame with a right length and checksum around any body.
func sealed(_ body: some Sequence<UInt8>) -> ByteBuffer {
    var buffer = ByteBuffer(integer: 0 as UInt64)
    buffer.writeBytes(body)
    _ = FrameEncoder.seal(from: 0, in: &buffer)
    return buffer
}

func body(of frame: ByteBuffer) -> [UInt8] { Array(frame.readableBytesView.dropFirst(FrameEncoder.headerBytes)) }
