internal import EsperTypes

/// What a record says. Numbers are part of the disk format.
package enum RecordKind: UInt8, Sendable, CaseIterable {
    case hardState = 1
    case truncate = 2
    case installedSnapshot = 3
    case entry = 4
    case compaction = 5
    /// The first record after a start; its random payload parts the chain from whatever an earlier life left behind.
    case opened = 6
    /// Written over the free space when the log falls idle, without a sync: everything up to `durableThrough` was
    /// acknowledged. The next group overwrites it; it takes part in no chain.
    case idleMark = 7
}

/// The 56 bytes before each payload; docs/formats/log.md has the table.
///
/// `headerChecksum` is seeded with the segment's salt, so a record of an earlier use of the file never reads as one
/// of this; `chain` is the checksum of the record before, so neither does a record of an earlier life of this use.
package struct RecordHeader: Hashable, Sendable {
    static let bytes = 56
    static let alignment = 8

    struct Flags: OptionSet, Hashable, Sendable {
        let rawValue: UInt8
        /// The last record of a batch: from here on the batch counts.
        static let endOfBatch = Flags(rawValue: 1)
        /// The last record of one write: the next one starts at the next sector.
        static let endOfGroup = Flags(rawValue: 2)
        /// The record says which term was in force; those of early releases do not.
        static let saysTerm = Flags(rawValue: 4)
    }

    var kind: RecordKind
    var flags: Flags
    var entryKind: UInt8
    var payloadBytes: UInt32
    var payloadChecksum: UInt32
    var chain: UInt32
    /// The log's own number of the batch.
    var sequence: UInt64
    /// The last batch known durable when this record was written.
    var durableThrough: UInt64
    /// Of the entry; of any other record, the term in force.
    var term: UInt64
    var index: UInt64
    /// How far the term in force is ahead of the entry's; the highest value means this or more.
    var termLead: UInt8 = 0

    init(
        kind: RecordKind, entryKind: UInt8, payload: [UInt8], sequence: UInt64, durableThrough: UInt64, term: Term,
        index: LogIndex, termInForce: Term
    ) {
        self.kind = kind
        flags = .saysTerm
        self.entryKind = entryKind
        payloadBytes = UInt32(payload.count)
        payloadChecksum = CRC32C.checksum(payload)
        chain = 0
        self.sequence = sequence
        self.durableThrough = durableThrough
        self.term = kind == .entry ? term.rawValue : termInForce.rawValue
        self.index = index.rawValue
        if kind == .entry { termLead = UInt8(clamping: max(termInForce, term).rawValue - term.rawValue) }
    }

    /// The term in force when the record was written; nil when it does not say.
    ///
    /// Every record says it, so that damage that hides a change of the term leaves word of it further on.
    var termInForce: Term? {
        guard flags.contains(.saysTerm) else { return nil }
        if kind != .entry { return Term(term) }
        return termLead < .max ? Term(term &+ UInt64(termLead)) : nil
    }

    /// - Returns: the header checksum, which the next record carries as its chain.
    @discardableResult
    func write(to target: UnsafeMutableRawPointer, salt: SegmentSalt) -> UInt32 {
        func store<Value: FixedWidthInteger>(_ value: Value, _ offset: Int) {
            target.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
        }
        store(salt.mark, 4)
        store(chain, 8)
        store(payloadChecksum, 12)
        store(payloadBytes, 16)
        store(kind.rawValue, 20)
        store(flags.rawValue, 21)
        store(entryKind, 22)
        store(termLead, 23)
        store(sequence, 24)
        store(durableThrough, 32)
        store(term, 40)
        store(index, 48)
        let checksum = salt.checksum(UnsafeRawBufferPointer(start: target + 4, count: Self.bytes - 4))
        store(checksum, 0)
        return checksum
    }

    /// Reads a header that belongs to the segment use of `salt`; nil for anything else, numbers that no log comes to among it.
    static func read(_ source: UnsafeRawPointer, salt: SegmentSalt) -> (header: RecordHeader, checksum: UInt32)? {
        func load<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type = Value.self) -> Value {
            Value(littleEndian: source.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        guard load(4, UInt32.self) == salt.mark else { return nil }
        let checksum: UInt32 = load(0)
        guard salt.checksum(UnsafeRawBufferPointer(start: source + 4, count: bytes - 4)) == checksum,
            let kind = RecordKind(rawValue: load(20))
        else { return nil }
        let header = RecordHeader(kind: kind, bytes: UnsafeRawBufferPointer(start: source, count: bytes))
        let highest = max(header.sequence, header.durableThrough, header.term, header.index)
        return highest < LogIndex.unreachable.rawValue ? (header, checksum) : nil
    }

    private init(kind: RecordKind, bytes: UnsafeRawBufferPointer) {
        func load<Value: FixedWidthInteger>(_ offset: Int) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        self.kind = kind
        flags = Flags(rawValue: load(21))
        entryKind = load(22)
        termLead = load(23)
        payloadBytes = load(16)
        payloadChecksum = load(12)
        chain = load(8)
        sequence = load(24)
        durableThrough = load(32)
        term = load(40)
        index = load(48)
    }
}

/// The random number that tells one use of a segment file from the ones before.
package struct SegmentSalt: Hashable, Sendable {
    let value: UInt64
    private let seed: UInt32

    init(_ value: UInt64) {
        self.value = value
        seed = withUnsafeBytes(of: value.littleEndian) { CRC32C.checksum($0) }
    }

    /// Stands in every record header in the clear: a cheap first test when looking for records.
    var mark: UInt32 { UInt32(truncatingIfNeeded: value >> 32) }

    func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var crc = CRC32C(continuing: seed)
        crc.update(bytes)
        return crc.checksum
    }
}

extension Int {
    /// The next multiple of a power of two.
    func roundedUp(to alignment: Int) -> Int { (self + alignment - 1) & ~(alignment - 1) }
}

/// Sixteen hexadecimal digits.
func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
