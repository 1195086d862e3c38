package import EsperTypes
package import NIOCore
import RaftCore

/// Why the bytes of a link are no frames of ours. The link is closed: after such bytes no boundary can be trusted.
package enum FrameError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The length is zero or above what the moment allows.
    case length(Int)
    case checksum
    case unknownKind(UInt8)
    /// A field inside the frame is wrong.
    case malformed(DecodingError)
    /// A frame of ours, but not at this point of the conversation.
    case unexpected

    package var description: String {
        switch self {
        case .length(let bytes): "a frame of \(bytes) bytes"
        case .checksum: "wrong checksum"
        case .unknownKind(let kind): "unknown frame kind \(kind)"
        case .malformed(let cause): "malformed frame: \(cause)"
        case .unexpected: "a frame that does not belong here"
        }
    }
}

/// One frame as it arrives: part of the handshake, or for the delegate.
package enum IncomingFrame: Hashable, Sendable {
    case hello(Hello)
    case welcome(Welcome)
    case refusal(HandshakeRefusal)
    case peer(PeerFrame)
}

/// Cuts a stream of bytes into frames and reads each where it lies.
///
/// Keeps at most one incomplete frame, and of that only what has arrived: an announced length allocates nothing.
package struct FrameDecoder {
    private var buffer: ByteBuffer?

    package init() {}

    /// Adds what a read brought. Without an incomplete frame before it, nothing is copied.
    package mutating func feed(_ bytes: ByteBuffer) {
        guard buffer != nil else {
            buffer = bytes
            return
        }
        buffer!.writeImmutableBuffer(bytes)
    }

    /// The next complete frame, or nil until more bytes come.
    ///
    /// - Parameter limit: the largest body that is acceptable now.
    package mutating func next(limit: Int) throws(FrameError) -> IncomingFrame? {
        guard let available = buffer?.readableBytes, available >= FrameEncoder.headerBytes else { return nil }
        let header = buffer!.getMultipleIntegers(
            at: buffer!.readerIndex, endianness: .little, as: (UInt32, UInt32).self)!
        let bodyBytes = Int(header.0)
        guard bodyBytes > 0, bodyBytes <= limit else { throw .length(bodyBytes) }
        let frameBytes = FrameEncoder.headerBytes + bodyBytes
        guard available >= frameBytes else { return nil }
        let result = buffer!.withUnsafeReadableBytes { bytes in
            Self.decode(
                UnsafeRawBufferPointer(rebasing: bytes[FrameEncoder.headerBytes..<frameBytes]), checksum: header.1)
        }
        buffer!.moveReaderIndex(forwardBy: frameBytes)
        return try result.get()
    }

    /// To be called when a read is used up: lets go of its memory, but for the start of an incomplete frame.
    package mutating func settle() {
        guard let rest = buffer else { return }
        if rest.readableBytes == 0 {
            buffer = nil
        } else if rest.readerIndex > 0 {
            var kept = ByteBufferAllocator().buffer(capacity: max(rest.readableBytes, 1024))
            kept.writeImmutableBuffer(rest)
            buffer = kept
        }
    }

    /// Bytes of an incomplete frame.
    package var bufferedBytes: Int { buffer?.readableBytes ?? 0 }

    private static func decode(_ body: UnsafeRawBufferPointer, checksum: UInt32) -> Result<IncomingFrame, FrameError> {
        guard CRC32C.checksum(body) == checksum else { return .failure(.checksum) }
        guard let kind = FrameKind(rawValue: body[0]) else { return .failure(.unknownKind(body[0])) }
        do throws(DecodingError) {
            var reader = WireReader(UnsafeRawBufferPointer(rebasing: body[1...]))
            let frame = try reader.frame(kind)
            // A hello may grow at its end: the version it offers says what an older program may ignore.
            if kind != .hello { try reader.finish() }
            return .success(frame)
        } catch {
            return .failure(.malformed(error))
        }
    }
}

extension WireReader {
    fileprivate mutating func frame(_ kind: FrameKind) throws(DecodingError) -> IncomingFrame {
        switch kind {
        case .hello: .hello(try Hello(from: &self))
        case .welcome: .welcome(try Welcome(from: &self))
        case .refusal: .refusal(try HandshakeRefusal(from: &self))
        case .preVoteRequest:
            .peer(
                .raft(.preVoteRequest(PreVoteRequest(term: try counter(), last: try entryID(), round: try integer()))))
        case .preVoteResponse:
            .peer(
                .raft(
                    .preVoteResponse(PreVoteResponse(term: try counter(), isGranted: try bool(), round: try integer())))
            )
        case .requestVote:
            .peer(.raft(.requestVote(RequestVote(term: try counter(), last: try entryID(), isTransfer: try bool()))))
        case .requestVoteResponse:
            .peer(
                .raft(
                    .requestVoteResponse(
                        RequestVoteResponse(
                            term: try counter(), isGranted: try bool(), holderWait: try milliseconds()))))
        case .appendEntries: .peer(.raft(.appendEntries(try appendEntries())))
        case .appendEntriesResponse: .peer(.raft(.appendEntriesResponse(try appendEntriesResponse())))
        case .installSnapshot: .peer(.raft(.installSnapshot(try installSnapshot())))
        case .installSnapshotResponse: .peer(.raft(.installSnapshotResponse(try installSnapshotResponse())))
        case .timeoutNow:
            .peer(.raft(.timeoutNow(TimeoutNow(term: try counter(), last: try entryID(), isLeaseReleased: try bool()))))
        case .readIndexRequest:
            .peer(.raft(.readIndexRequest(ReadIndexRequest(term: try counter(), number: try integer()))))
        case .readIndexResponse:
            .peer(
                .raft(
                    .readIndexResponse(
                        ReadIndexResponse(
                            term: try counter(), number: try integer(), index: try bool() ? try counter() : nil))))
        case .forward: .peer(.forward(try counter(), try forwardedProposals()))
        case .forwardRefused: .peer(try forwardRefused())
        case .ask: .peer(.ask(try integer(), try array(atMost: PeerFrame.maximumQuestionBytes)))
        case .answer: .peer(.answer(try integer(), try array(atMost: PeerFrame.maximumQuestionBytes)))
        }
    }

    private mutating func appendEntries() throws(DecodingError) -> AppendEntries {
        // Term, index, kind and length: 21 bytes for an entry without payload.
        let count = try count(smallestElement: 21)
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        for _ in 0..<count {
            let id = try entryID()
            let tag = try integer(UInt8.self)
            guard let kind = EntryKind(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
            entries.append(Entry(id: id, kind: kind, payload: try array(atMost: Limits.entryPayloadBytes)))
        }
        return AppendEntries(
            term: try counter(), session: try nonce(), readSequence: try counter(), previous: try entryID(),
            commit: try counter(), entries: entries, grant: try bool() ? try leaseGrant() : nil)
    }

    private mutating func leaseGrant() throws(DecodingError) -> LeaseGrant {
        LeaseGrant(
            request: try integer(), length: try milliseconds(), base: try counter())
    }

    private mutating func appendEntriesResponse() throws(DecodingError) -> AppendEntriesResponse {
        let (term, session, readSequence) = (
            try counter(Term.self), try nonce(), try counter(ReadSequence.self)
        )
        let (leaseWait, holderWait) = (try milliseconds(), try milliseconds())
        let leaseRequest = try integer(UInt64.self)
        let outcome: AppendEntriesResponse.Outcome
        switch try integer(UInt8.self) {
        case 0: outcome = .matched(durable: try counter(), received: try counter())
        case 1: outcome = .conflict(previous: try entryID(), hint: try entryID())
        case 2: outcome = .staleTerm
        case let tag: throw .unknownTag(UInt64(tag))
        }
        return AppendEntriesResponse(
            term: term, session: session, readSequence: readSequence, leaseWait: leaseWait, holderWait: holderWait,
            leaseRequest: leaseRequest, outcome: outcome)
    }

    private mutating func installSnapshot() throws(DecodingError) -> InstallSnapshot {
        let (term, session, id) = (try counter(Term.self), try nonce(), try entryID())
        let descriptor = SnapshotDescriptor(
            id: id, configuration: try Configuration(decoding: try array(atMost: 8 << 10)),
            configurationIndex: try counter(), sizeBytes: try extent(), checksum: try integer(),
            stateHash: try integer())
        let (offset, isLast) = (try extent(), try bool())
        return InstallSnapshot(
            term: term, session: session, descriptor: descriptor, offset: offset,
            bytes: try array(atMost: Limits.snapshotChunkBytes), isLast: isLast)
    }

    private mutating func installSnapshotResponse() throws(DecodingError) -> InstallSnapshotResponse {
        let (term, session) = (try counter(Term.self), try nonce())
        let outcome: InstallSnapshotResponse.Outcome
        switch try integer(UInt8.self) {
        case 0: outcome = .received(id: try entryID(), nextOffset: try extent())
        case 1: outcome = .installed(through: try counter())
        case 2: outcome = .staleTerm
        case let tag: throw .unknownTag(UInt64(tag))
        }
        return InstallSnapshotResponse(term: term, session: session, outcome: outcome)
    }

    private mutating func forwardedProposals() throws(DecodingError) -> [ForwardedProposal] {
        // The token and the length: 12 bytes for an empty envelope.
        let count = try count(smallestElement: 12)
        var proposals: [ForwardedProposal] = []
        proposals.reserveCapacity(count)
        for _ in 0..<count {
            proposals.append(
                ForwardedProposal(token: try integer(), envelope: try array(atMost: Limits.entryPayloadBytes)))
        }
        return proposals
    }

    private mutating func forwardRefused() throws(DecodingError) -> PeerFrame {
        let reason: RefusalReason
        switch try integer(UInt8.self) {
        case 0: reason = .notLeader(hint: try bool() ? try identifier() : nil)
        case 1: reason = .overloaded
        case 2: reason = .transferring
        case 3: reason = .storageStalled
        case 4: reason = .quorumUnreachable
        case 5: reason = .paused
        case 6: reason = .leadershipLost
        case 7: reason = .unconfirmed
        case 8: reason = .oversized
        case 9: reason = .storageFull
        case let tag: throw .unknownTag(UInt64(tag))
        }
        let count = try count(smallestElement: 8)
        var tokens: [UInt64] = []
        tokens.reserveCapacity(count)
        for _ in 0..<count { tokens.append(try integer()) }
        return .forwardRefused(tokens, reason)
    }
}
