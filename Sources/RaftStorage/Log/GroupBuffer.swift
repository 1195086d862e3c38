internal import EsperTypes
internal import RaftCore

/// The bytes of one write: perhaps a segment header, then the records of one or more batches, padded to a sector.
///
/// One contiguous buffer, kept from group to group. Belongs to one thread at a time.
final class GroupBuffer {
    private var memory: UnsafeMutableRawBufferPointer
    private(set) var count = 0
    private var lastRecord: (offset: Int, header: RecordHeader)?
    private(set) var chain: UInt32 = 0
    private var salt = SegmentSalt(0)
    /// The term that the records written next are written in.
    private var termInForce = Term.zero

    init(capacity: Int = 256 << 10) {
        memory = .allocate(byteCount: capacity, alignment: 4096)
    }

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<count]) }

    func begin(salt: SegmentSalt, chain: UInt32, termInForce: Term, prefix: [UInt8] = []) {
        self.salt = salt
        self.termInForce = termInForce
        self.chain = chain
        lastRecord = nil
        count = 0
        reserve(prefix.count)
        memory.copyBytes(from: prefix)
        count = prefix.count
    }

    func append(
        _ kind: RecordKind, sequence: UInt64, durableThrough: UInt64, term: Term = .zero, index: LogIndex = .zero,
        entryKind: UInt8 = 0, payload: [UInt8] = []
    ) {
        finishLastRecord()
        let size = Self.recordBytes(payload.count)
        reserve(count + size)
        let offset = count
        let body = UnsafeMutableRawBufferPointer(rebasing: memory[offset + RecordHeader.bytes..<offset + size])
        body.copyBytes(from: payload)
        let padding = UnsafeMutableRawBufferPointer(rebasing: body[payload.count...])
        padding.initializeMemory(as: UInt8.self, repeating: 0)
        lastRecord = (
            offset,
            RecordHeader(
                kind: kind, entryKind: entryKind, payload: payload, sequence: sequence,
                durableThrough: durableThrough, term: term, index: index, termInForce: termInForce)
        )
        count += size
    }

    func append(_ batch: WriteBatch, sequence: UInt64, durableThrough: UInt64) {
        if let hardState = batch.hardState {
            termInForce = hardState.term
            var payload = ByteWriter(capacity: 32)
            payload.write(hardState)
            append(.hardState, sequence: sequence, durableThrough: durableThrough, payload: payload.bytes)
        }
        if let first = batch.truncateFrom {
            append(.truncate, sequence: sequence, durableThrough: durableThrough, index: first)
        }
        if let snapshot = batch.installedSnapshot {
            var payload = ByteWriter(capacity: 256)
            payload.write(snapshot)
            append(
                .installedSnapshot, sequence: sequence, durableThrough: durableThrough, index: snapshot.index,
                payload: payload.bytes)
        }
        for entry in batch.entries {
            append(
                .entry, sequence: sequence, durableThrough: durableThrough, term: entry.term, index: entry.index,
                entryKind: entry.kind.rawValue, payload: entry.payload)
        }
        if let compaction = batch.compaction {
            var payload = ByteWriter(capacity: 256)
            payload.write(compaction.snapshot)
            payload.write(compaction.through)
            append(
                .compaction, sequence: sequence, durableThrough: durableThrough, index: compaction.through.index,
                payload: payload.bytes)
        }
        endBatch()
    }

    func endBatch() { lastRecord?.header.flags.insert(.endOfBatch) }

    /// Ends the group and pads it with zeros to the sector.
    func seal(sectorBytes: Int) {
        lastRecord?.header.flags.insert(.endOfGroup)
        finishLastRecord()
        let padded = count.roundedUp(to: sectorBytes)
        reserve(padded)
        UnsafeMutableRawBufferPointer(rebasing: memory[count..<padded]).initializeMemory(as: UInt8.self, repeating: 0)
        count = padded
    }

    /// How many bytes ``append(_:sequence:durableThrough:)`` will take at most, without padding to a sector.
    static func encodedBytes(_ batch: WriteBatch) -> Int {
        var total = 0
        if batch.hardState != nil { total += recordBytes(17) }
        if batch.truncateFrom != nil { total += recordBytes(0) }
        if let snapshot = batch.installedSnapshot { total += recordBytes(descriptorBytes(snapshot)) }
        for entry in batch.entries { total += recordBytes(entry.payload.count) }
        if let compaction = batch.compaction { total += recordBytes(descriptorBytes(compaction.snapshot) + 16) }
        return total
    }

    private static func descriptorBytes(_ descriptor: SnapshotDescriptor) -> Int {
        16 + 4 + descriptor.configuration.encoded().count + 8 + 8 + 4 + 8
    }

    static func recordBytes(_ payloadBytes: Int) -> Int {
        (RecordHeader.bytes + payloadBytes).roundedUp(to: RecordHeader.alignment)
    }

    private func finishLastRecord() {
        guard let (offset, unfinished) = lastRecord else { return }
        var header = unfinished
        header.chain = chain
        chain = header.write(to: memory.baseAddress! + offset, salt: salt)
        lastRecord = nil
    }

    private func reserve(_ bytes: Int) {
        guard bytes > memory.count else { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(bytes, memory.count * 2), alignment: 4096)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[..<count]))
        memory.deallocate()
        memory = larger
    }
}
