internal import EsperTypes
internal import RaftCore

/// The start of a segment file: whose it is, which use of the file this is, and the state when it began, so that the
/// segments before it can be given back as soon as their entries are in a snapshot.
///
/// Stands twice, each copy on sectors of its own, written together with the first group. Format: docs/formats/log.md.
package struct SegmentHeader: Hashable, Sendable {
    var identity: StorageIdentity
    /// Position in the log, from 1; also the file's name.
    var ordinal: UInt64
    var salt: SegmentSalt
    var sectorBytes: Int
    var segmentBytes: Int
    /// Where the segment before ends, and the checksum of its last record (of its header when it has none).
    var previousEnd: Int
    var previousChain: UInt32
    /// The sequence of the segment's first batch.
    var firstSequence: UInt64
    var durableThrough: UInt64
    var state: LogState

    private static let magic: UInt64 = 0x3147_4f4c_5250_5345  // "ESPRLOG1"
    private static let prefixBytes = 24
    /// A terabyte: far above whatever a batch may need, and so small that sums of it do not overflow.
    private static let maximumSegmentBytes = 1 << 40

    /// Both copies, padded to sectors.
    func encoded() -> [UInt8] {
        var body = ByteWriter(capacity: 256)
        body.write(identity.cluster)
        body.write(identity.node)
        body.write(identity.incarnation)
        body.write(ordinal)
        body.write(salt.value)
        body.write(UInt32(sectorBytes))
        body.write(UInt64(segmentBytes))
        body.write(UInt64(previousEnd))
        body.write(previousChain)
        body.write(firstSequence)
        body.write(durableThrough)
        body.write(state.hardState)
        body.write(state.baseConfiguration.encoded())
        body.write(optional: state.snapshot) { $0.write($1) }
        body.write(state.compactedThrough)
        body.write(state.lastIndex)
        var prefix = ByteWriter(capacity: Self.prefixBytes)
        prefix.write(Self.magic)
        prefix.write(storageFormatVersion)
        prefix.write(UInt32((Self.prefixBytes + body.bytes.count).roundedUp(to: sectorBytes)))
        prefix.write(UInt32(body.bytes.count))
        var crc = CRC32C()
        crc.update(prefix.bytes)
        crc.update(body.bytes)
        prefix.write(crc.checksum)
        var copy = prefix.bytes + body.bytes
        copy.append(contentsOf: repeatElement(0, count: copy.count.roundedUp(to: sectorBytes) - copy.count))
        return copy + copy
    }

    /// The checksum inside encoded bytes; the chain of the segment's records begins with it.
    static func checksum(of encoded: [UInt8]) -> UInt32 {
        encoded[prefixBytes - 4..<prefixBytes].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// What the start of a file says.
    enum Reading {
        /// A header; `isComplete` when both copies are readable.
        case header(SegmentHeader, bytes: Int, checksum: UInt32, isComplete: Bool)
        /// A file that is waiting for its use, or a header that was torn when it was written.
        case none
        /// A later release wrote it.
        case newerFormat(UInt32)
    }

    /// Reads the first readable copy. The second one starts at a sector boundary, so it is found without the first.
    static func read(_ file: UnsafeRawBufferPointer) -> Reading {
        let smallestSector = 512
        guard case .header(let header, let bytes, let checksum, _) = readCopy(file, at: 0) else {
            var offset = smallestSector
            while offset < min(file.count, 64 << 10) {
                if case .header(let header, let bytes, let checksum, _) = readCopy(file, at: offset), bytes == offset {
                    return .header(header, bytes: 2 * bytes, checksum: checksum, isComplete: false)
                }
                offset += smallestSector
            }
            return readCopy(file, at: 0)
        }
        var isComplete = false
        if case .header(header, _, _, _) = readCopy(file, at: bytes) { isComplete = true }
        return .header(header, bytes: 2 * bytes, checksum: checksum, isComplete: isComplete)
    }

    private static func readCopy(_ file: UnsafeRawBufferPointer, at offset: Int) -> Reading {
        guard file.count >= offset + prefixBytes else { return .none }
        var prefix = ByteReader([UInt8](file[offset..<offset + prefixBytes]))
        guard let magic = try? prefix.read(UInt64.self), magic == Self.magic,
            let version = try? prefix.read(UInt32.self), let headerBytes = try? prefix.read(UInt32.self),
            let bodyBytes = try? prefix.read(UInt32.self), let checksum = try? prefix.read(UInt32.self),
            bodyBytes <= 32 << 10, headerBytes <= 32 << 10, Int(bodyBytes) + prefixBytes <= Int(headerBytes),
            offset + Int(headerBytes) <= file.count
        else { return .none }
        let bodyStart = offset + prefixBytes
        var crc = CRC32C()
        crc.update(UnsafeRawBufferPointer(rebasing: file[offset..<bodyStart - 4]))
        crc.update(UnsafeRawBufferPointer(rebasing: file[bodyStart..<bodyStart + Int(bodyBytes)]))
        guard crc.checksum == checksum else { return .none }
        guard version <= storageFormatVersion else { return .newerFormat(version) }
        var body = ByteReader([UInt8](file[bodyStart..<bodyStart + Int(bodyBytes)]))
        // A body with a right checksum that does not decode is treated like one with a wrong checksum.
        guard let header = try? Self(decoding: &body) else { return .none }
        return .header(header, bytes: Int(headerBytes), checksum: checksum, isComplete: true)
    }

    private init(decoding body: inout ByteReader) throws(DecodingError) {
        identity = StorageIdentity(
            cluster: try body.read(ClusterID.self), node: try body.read(NodeID.self),
            incarnation: try body.read(Incarnation.self))
        ordinal = try body.readExtent()
        salt = SegmentSalt(try body.read(UInt64.self))
        sectorBytes = Int(try body.read(UInt32.self))
        segmentBytes = Int(clamping: try body.read(UInt64.self))
        guard sectorBytes >= 512, sectorBytes <= 32 << 10, sectorBytes & (sectorBytes - 1) == 0 else {
            throw .oversized(sectorBytes)
        }
        guard segmentBytes <= Self.maximumSegmentBytes else { throw .oversized(segmentBytes) }
        previousEnd = Int(clamping: try body.read(UInt64.self))
        previousChain = try body.read(UInt32.self)
        firstSequence = try body.readExtent()
        guard firstSequence > 0 else { throw .unknownTag(0) }
        durableThrough = try body.readExtent()
        let hardState = try body.readHardState()
        state = LogState(baseConfiguration: try body.readConfiguration())
        state.hardState = hardState
        state.snapshot = try body.readOptional { (reader: inout ByteReader) throws(DecodingError) in
            try reader.readDescriptor()
        }
        state.compactedThrough = try body.readEntryID()
        state.lastIndex = try body.readReachable()
        try body.finish()
    }

    init(
        identity: StorageIdentity, ordinal: UInt64, salt: SegmentSalt, sectorBytes: Int, segmentBytes: Int,
        previousEnd: Int, previousChain: UInt32, firstSequence: UInt64, durableThrough: UInt64, state: LogState
    ) {
        self.identity = identity
        self.ordinal = ordinal
        self.salt = salt
        self.sectorBytes = sectorBytes
        self.segmentBytes = segmentBytes
        self.previousEnd = previousEnd
        self.previousChain = previousChain
        self.firstSequence = firstSequence
        self.durableThrough = durableThrough
        self.state = state
    }
}

/// What all records so far add up to, without the entries themselves.
package struct LogState: Hashable, Sendable {
    var hardState = HardState()
    /// The cluster's first configuration.
    var baseConfiguration: Configuration
    var snapshot: SnapshotDescriptor?
    var compactedThrough: EntryID = .zero
    var lastIndex: LogIndex = .zero

    init(baseConfiguration: Configuration) { self.baseConfiguration = baseConfiguration }

    /// Takes up a batch in the order that ``WriteBatch`` promises.
    mutating func add(_ batch: WriteBatch) {
        if let hardState = batch.hardState { self.hardState = hardState }
        if let first = batch.truncateFrom {
            precondition(
                first > compactedThrough.index, "truncation at \(first), compacted through \(compactedThrough)")
            lastIndex = min(lastIndex, first.previous)
        }
        if let snapshot = batch.installedSnapshot {
            self.snapshot = snapshot
            compactedThrough = snapshot.id
            lastIndex = max(lastIndex, snapshot.index)
        }
        if let first = batch.entries.first, let last = batch.entries.last {
            precondition(first.index == lastIndex.next, "entry \(first.id) does not follow index \(lastIndex)")
            lastIndex = last.index
        }
        if let compaction = batch.compaction {
            snapshot = compaction.snapshot
            compactedThrough = max(compactedThrough, compaction.through)
        }
    }
}
