import EsperTypes
package import NIOCore
import RaftCore

/// Appends frames to a buffer: length, CRC-32C, kind, fields, all little-endian, in one pass.
///
/// Entries stand at the front of an AppendEntries body and what differs between peers at its end. So when the same
/// entries go to several peers, their bytes and their part of the checksum are made once: the second peer costs a copy.
package struct FrameEncoder {
    /// The length (4) and the checksum (4).
    package static let headerBytes = 8

    /// The encoded entries of the last AppendEntries with any, from the kind byte on.
    private struct EncodedEntries {
        var first: EntryID
        var last: EntryID
        var count: Int
        var bytes: ByteBuffer
        var checksum: UInt32
    }

    private var recent: EncodedEntries?

    package init() {}

    /// Appends one frame.
    ///
    /// - Returns: the bytes appended.
    package mutating func append(_ frame: PeerFrame, to buffer: inout ByteBuffer) -> Int {
        let start = buffer.writerIndex
        buffer.writeInteger(0 as UInt64)
        var checked: (bytes: Int, checksum: UInt32) = (0, 0)
        switch frame {
        case .raft(.appendEntries(let message)) where !message.entries.isEmpty:
            let encoded = encode(message.entries)
            buffer.writeImmutableBuffer(encoded.bytes)
            checked = (encoded.bytes.readableBytes, encoded.checksum)
            buffer.writeTail(of: message)
        case .raft(let message): buffer.write(message)
        case .forward(let term, let proposals): buffer.write(proposals, forLeaderOf: term)
        case .forwardRefused(let tokens, let reason): buffer.write(tokens, refusedFor: reason)
        case .ask(let token, let bytes): buffer.write(.ask, token: token, bytes: bytes)
        case .answer(let token, let bytes): buffer.write(.answer, token: token, bytes: bytes)
        }
        return Self.seal(from: start, in: &buffer, after: checked.bytes, checksum: checked.checksum)
    }

    /// Drops the kept entries; they are only worth their memory within one turn.
    package mutating func forget() { recent = nil }

    /// Fills in the header of the frame that begins at `start`.
    ///
    /// - Parameter checkedBytes: how much of the body `checksum` already covers.
    package static func seal(
        from start: Int, in buffer: inout ByteBuffer, after checkedBytes: Int = 0, checksum: UInt32 = 0
    ) -> Int {
        let bodyStart = start + headerBytes
        let bodyBytes = buffer.writerIndex - bodyStart
        var crc = CRC32C(continuing: checksum)
        let offset = bodyStart + checkedBytes - buffer.readerIndex
        buffer.withUnsafeReadableBytes { crc.update(UnsafeRawBufferPointer(rebasing: $0[offset...])) }
        buffer.setInteger(UInt32(bodyBytes), at: start, endianness: .little)
        buffer.setInteger(crc.checksum, at: start + 4, endianness: .little)
        return headerBytes + bodyBytes
    }

    /// By the Log Matching property (§5.3) runs of one leader with equal ends are equal throughout.
    private mutating func encode(_ entries: [Entry]) -> EncodedEntries {
        let (first, last) = (entries[0].id, entries[entries.count - 1].id)
        if let recent, recent.first == first, recent.last == last, recent.count == entries.count { return recent }
        var bytes = recent?.bytes ?? ByteBufferAllocator().buffer(capacity: 4096)
        recent = nil
        bytes.clear()
        bytes.writeKind(.appendEntries)
        bytes.writeInteger(UInt32(entries.count), endianness: .little)
        for entry in entries {
            bytes.write(entry.id)
            bytes.writeInteger(entry.kind.rawValue)
            bytes.writeArray(entry.payload)
        }
        let checksum = bytes.withUnsafeReadableBytes { CRC32C.checksum($0) }
        let encoded = EncodedEntries(first: first, last: last, count: entries.count, bytes: bytes, checksum: checksum)
        recent = encoded
        return encoded
    }
}

extension ByteBuffer {
    mutating func writeKind(_ kind: FrameKind) { writeInteger(kind.rawValue) }

    mutating func write(_ value: some Counter) { writeInteger(value.rawValue, endianness: .little) }

    mutating func write(_ value: some Identifier) { writeInteger(value.rawValue, endianness: .little) }

    mutating func write(_ value: Bool) { writeInteger(value ? 1 : 0, as: UInt8.self) }

    mutating func write(_ value: EntryID) {
        writeMultipleIntegers(value.term.rawValue, value.index.rawValue, endianness: .little)
    }

    /// In whole milliseconds.
    fileprivate mutating func write(_ value: Duration) {
        writeInteger(UInt32(clamping: value.nanoseconds / 1_000_000), endianness: .little)
    }

    mutating func writeArray(_ value: [UInt8]) {
        writeInteger(UInt32(value.count), endianness: .little)
        writeBytes(value)
    }

    /// The body of every message, AppendEntries without entries included.
    fileprivate mutating func write(_ message: Message) {
        switch message {
        case .preVoteRequest(let message):
            writeKind(.preVoteRequest)
            write(message.term)
            write(message.last)
            writeInteger(message.round, endianness: .little)
        case .preVoteResponse(let message):
            writeKind(.preVoteResponse)
            write(message.term)
            write(message.isGranted)
            writeInteger(message.round, endianness: .little)
        case .requestVote(let message):
            writeKind(.requestVote)
            write(message.term)
            write(message.last)
            write(message.isTransfer)
        case .requestVoteResponse(let message):
            writeKind(.requestVoteResponse)
            write(message.term)
            write(message.isGranted)
            write(message.holderWait)
        case .appendEntries(let message):
            writeKind(.appendEntries)
            writeInteger(0, as: UInt32.self)
            writeTail(of: message)
        case .appendEntriesResponse(let message): write(message)
        case .installSnapshot(let message): write(message)
        case .installSnapshotResponse(let message): write(message)
        case .timeoutNow(let message):
            writeKind(.timeoutNow)
            write(message.term)
            write(message.last)
            write(message.isLeaseReleased)
        case .readIndexRequest(let message):
            writeKind(.readIndexRequest)
            write(message.term)
            writeInteger(message.number, endianness: .little)
        case .readIndexResponse(let message):
            writeKind(.readIndexResponse)
            write(message.term)
            writeInteger(message.number, endianness: .little)
            write(message.index != nil)
            if let index = message.index { write(index) }
        }
    }

    /// What follows the entries: the part that differs from peer to peer.
    fileprivate mutating func writeTail(of message: AppendEntries) {
        write(message.term)
        write(message.session)
        write(message.readSequence)
        write(message.previous)
        write(message.commit)
        write(message.grant != nil)
        if let grant = message.grant {
            writeInteger(grant.request, endianness: .little)
            write(grant.length)
            write(grant.base)
        }
    }

    private mutating func write(_ message: AppendEntriesResponse) {
        writeKind(.appendEntriesResponse)
        write(message.term)
        write(message.session)
        write(message.readSequence)
        write(message.leaseWait)
        write(message.holderWait)
        writeInteger(message.leaseRequest, endianness: .little)
        switch message.outcome {
        case .matched(let durable, let received):
            writeInteger(0, as: UInt8.self)
            write(durable)
            write(received)
        case .conflict(let previous, let hint):
            writeInteger(1, as: UInt8.self)
            write(previous)
            write(hint)
        case .staleTerm: writeInteger(2, as: UInt8.self)
        }
    }

    private mutating func write(_ message: InstallSnapshot) {
        writeKind(.installSnapshot)
        write(message.term)
        write(message.session)
        write(message.descriptor.id)
        writeArray(message.descriptor.configuration.encoded())
        write(message.descriptor.configurationIndex)
        writeInteger(message.descriptor.sizeBytes, endianness: .little)
        writeInteger(message.descriptor.checksum, endianness: .little)
        writeInteger(message.descriptor.stateHash, endianness: .little)
        writeInteger(message.offset, endianness: .little)
        write(message.isLast)
        writeArray(message.bytes)
    }

    private mutating func write(_ message: InstallSnapshotResponse) {
        writeKind(.installSnapshotResponse)
        write(message.term)
        write(message.session)
        switch message.outcome {
        case .received(let id, let nextOffset):
            writeInteger(0, as: UInt8.self)
            write(id)
            writeInteger(nextOffset, endianness: .little)
        case .installed(let through):
            writeInteger(1, as: UInt8.self)
            write(through)
        case .staleTerm: writeInteger(2, as: UInt8.self)
        }
    }

    fileprivate mutating func write(_ kind: FrameKind, token: UInt64, bytes: [UInt8]) {
        writeKind(kind)
        writeInteger(token, endianness: .little)
        writeArray(bytes)
    }

    fileprivate mutating func write(_ proposals: [ForwardedProposal], forLeaderOf term: Term) {
        writeKind(.forward)
        write(term)
        writeInteger(UInt32(proposals.count), endianness: .little)
        for proposal in proposals {
            writeInteger(proposal.token, endianness: .little)
            writeArray(proposal.envelope)
        }
    }

    fileprivate mutating func write(_ tokens: [UInt64], refusedFor reason: RefusalReason) {
        writeKind(.forwardRefused)
        switch reason {
        case .notLeader(let hint):
            writeInteger(0, as: UInt8.self)
            write(hint != nil)
            if let hint { write(hint) }
        case .overloaded: writeInteger(1, as: UInt8.self)
        case .transferring: writeInteger(2, as: UInt8.self)
        case .storageStalled: writeInteger(3, as: UInt8.self)
        case .quorumUnreachable: writeInteger(4, as: UInt8.self)
        case .paused: writeInteger(5, as: UInt8.self)
        case .leadershipLost: writeInteger(6, as: UInt8.self)
        case .unconfirmed: writeInteger(7, as: UInt8.self)
        case .oversized: writeInteger(8, as: UInt8.self)
        case .storageFull: writeInteger(9, as: UInt8.self)
        }
        writeInteger(UInt32(tokens.count), endianness: .little)
        for token in tokens { writeInteger(token, endianness: .little) }
    }
}
