internal import EsperTypes

/// Walks the groups of one segment in memory and says where, and why, the sound part ends.
struct SegmentScan {
    let bytes: UnsafeRawBufferPointer
    let salt: SegmentSalt
    let sectorBytes: Int
    /// Where the next group starts: the end of the sound part.
    private(set) var position: Int
    private(set) var chain: UInt32
    /// The last batch of the sound part.
    private(set) var sequence: UInt64
    /// The highest durability mark seen in the sound part, an idle mark after it included.
    private(set) var durableThrough: UInt64
    /// The first byte that cannot be read as what must come next.
    private(set) var badOffset = 0
    private var hasIdleMark = false

    init(
        bytes: UnsafeRawBufferPointer, salt: SegmentSalt, sectorBytes: Int, position: Int, chain: UInt32,
        sequence: UInt64, durableThrough: UInt64
    ) {
        self.bytes = bytes
        self.salt = salt
        self.sectorBytes = sectorBytes
        self.position = position
        self.chain = chain
        self.sequence = sequence
        self.durableThrough = durableThrough
    }

    typealias Record = (header: RecordHeader, payload: UnsafeRawBufferPointer, offset: Int)

    /// The records of the next whole group, added to `records`; false at the end of the sound part.
    mutating func nextGroup(into records: inout [Record]) -> Bool {
        records.removeAll(keepingCapacity: true)
        var offset = position
        var chain = chain
        var sequence = sequence
        badOffset = position
        while true {
            badOffset = offset
            guard let (header, checksum) = header(at: offset), header.chain == chain else { return false }
            let payloadStart = offset + RecordHeader.bytes
            guard Int(header.payloadBytes) <= bytes.count - payloadStart else { return false }
            let payload = UnsafeRawBufferPointer(
                rebasing: bytes[payloadStart..<payloadStart + Int(header.payloadBytes)])
            guard CRC32C.checksum(payload) == header.payloadChecksum else { return false }
            if header.kind == .idleMark {
                guard records.isEmpty, header.sequence == sequence else { return false }
                durableThrough = max(durableThrough, header.durableThrough)
                hasIdleMark = true
                return false
            }
            guard header.sequence == sequence || header.sequence == sequence + 1 else { return false }
            guard records.isEmpty ? header.sequence == sequence + 1 : true else { return false }
            sequence = header.sequence
            chain = checksum
            records.append((header, payload, offset))
            offset = payloadStart + Int(header.payloadBytes).roundedUp(to: RecordHeader.alignment)
            if header.flags.contains(.endOfGroup) { break }
        }
        position = offset.roundedUp(to: sectorBytes)
        self.chain = chain
        self.sequence = sequence
        durableThrough = records.reduce(durableThrough) { max($0, $1.header.durableThrough) }
        return true
    }

    /// What lies behind the sound part: the highest durability mark of any record of this use of the file, and whether
    /// there is a record that a crash cut off.
    func inspectRemainder() -> (durableThrough: UInt64, hasTornRecords: Bool) {
        var highest = durableThrough
        var hasTornRecords = false
        forEachReadableRecord(from: position) { header, _ in
            highest = max(highest, header.durableThrough)
            if header.kind != .idleMark, header.sequence > sequence { hasTornRecords = true }
        }
        return (highest, hasTornRecords)
    }

    /// Every record of this use of the file whose header is readable, wherever it stands and whatever came before it.
    func forEachReadableRecord(from start: Int, _ body: (RecordHeader, _ offset: Int) -> Void) {
        guard let base = bytes.baseAddress else { return }
        let mark = salt.mark.littleEndian
        var offset = start
        while offset + RecordHeader.bytes <= bytes.count {
            // The mark is compared alone first: one load for every eight bytes of a mostly empty file.
            if base.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self) == mark,
                let (header, _) = header(at: offset)
            {
                body(header, offset)
            }
            offset += RecordHeader.alignment
        }
    }

    private func header(at offset: Int) -> (header: RecordHeader, checksum: UInt32)? {
        guard let base = bytes.baseAddress, offset + RecordHeader.bytes <= bytes.count else { return nil }
        return RecordHeader.read(base + offset, salt: salt)
    }
}
