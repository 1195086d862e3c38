internal import EsperTypes
internal import RaftCore

/// What one segment holds, read, checked and decoded: all that can be done without knowing the segments before it.
struct SegmentContent: Sendable {
    /// Steps of the replay, each with the offset of its (first) record.
    private(set) var steps: [(step: ReplayStep, offset: Int)] = []
    /// Where the sound part ends.
    private(set) var position: Int
    private(set) var chain: UInt32
    private(set) var sequence: UInt64
    private(set) var durableThrough: UInt64
    private(set) var badOffset: Int
    private(set) var hasTornRecords: Bool

    /// Reads a segment with one call.
    ///
    /// - Parameter memory: is used again, and exchanged when it is too small: to have a page given costs as much as to fill it.
    init(
        _ segment: LogRecovery.Segment, into memory: inout UnsafeMutableRawBufferPointer?
    ) throws(StorageError) {
        let size = segment.header.segmentBytes
        // Before anything is allocated for what the header says.
        let fileBytes: UInt64
        do throws(FileError) { fileBytes = try segment.file.sizeBytes() } catch { throw StorageError(error) }
        guard fileBytes == UInt64(size) else { throw segment.isCut(to: fileBytes) }
        if memory.map({ $0.count < size }) ?? true {
            memory?.deallocate()
            memory = .allocate(byteCount: size, alignment: 4096)
        }
        let buffer = UnsafeMutableRawBufferPointer(rebasing: memory![..<size])
        let count: Int
        do throws(FileError) { count = try segment.file.read(into: buffer, at: 0) } catch { throw StorageError(error) }
        guard count == size else { throw segment.isCut(to: UInt64(count)) }
        var scan = SegmentScan(
            bytes: UnsafeRawBufferPointer(buffer), salt: segment.header.salt, sectorBytes: segment.header.sectorBytes,
            position: segment.headerBytes, chain: segment.checksum, sequence: segment.header.firstSequence - 1,
            durableThrough: segment.header.durableThrough)
        var records: [SegmentScan.Record] = []
        var entries: [Entry] = []
        var entriesOffset = 0
        while scan.nextGroup(into: &records) {
            for record in records {
                if record.header.kind == .entry, let entry = Entry(record.header, record.payload) {
                    if entries.isEmpty { entriesOffset = record.offset }
                    entries.append(entry)
                    continue
                }
                guard let step = ReplayStep(record.header, record.payload) else { continue }
                if !entries.isEmpty { steps.append((.entries(entries), entriesOffset)) }
                entries = []
                steps.append((step, record.offset))
            }
        }
        if !entries.isEmpty { steps.append((.entries(entries), entriesOffset)) }
        let remainder = scan.inspectRemainder()
        position = scan.position
        chain = scan.chain
        sequence = scan.sequence
        badOffset = scan.badOffset
        durableThrough = remainder.durableThrough
        hasTornRecords = remainder.hasTornRecords
    }
}

/// What a record, or a run of entries, does to the log.
enum ReplayStep: Sendable {
    case entries([Entry])
    case hardState(HardState)
    case truncate(from: LogIndex)
    case installedSnapshot(SnapshotDescriptor)
    case compaction(SnapshotDescriptor, through: EntryID)
    /// Only a record with right checksums comes here, so its writer and this reader disagree.
    case unreadable(String)

    /// - Returns: nil when the record does nothing.
    init?(_ header: RecordHeader, _ payload: UnsafeRawBufferPointer) {
        switch header.kind {
        case .entry:
            self = .unreadable("an entry of kind \(header.entryKind)")
        case .hardState:
            var reader = ByteReader([UInt8](payload))
            let hardState = try? reader.readHardState()
            self = hardState.map { .hardState($0) } ?? .unreadable("an unreadable hard state")
        case .truncate: self = .truncate(from: LogIndex(header.index))
        case .installedSnapshot:
            var reader = ByteReader([UInt8](payload))
            let snapshot = try? reader.readDescriptor()
            self = snapshot.map { .installedSnapshot($0) } ?? .unreadable("an unreadable snapshot descriptor")
        case .compaction:
            var reader = ByteReader([UInt8](payload))
            if let snapshot = try? reader.readDescriptor(), let through = try? reader.readEntryID() {
                self = .compaction(snapshot, through: through)
            } else {
                self = .unreadable("an unreadable compaction")
            }
        case .opened, .idleMark: return nil
        }
    }
}

extension Entry {
    /// Nil for a kind that this program does not know.
    fileprivate init?(_ header: RecordHeader, _ payload: UnsafeRawBufferPointer) {
        guard let kind = EntryKind(rawValue: header.entryKind) else { return nil }
        self.init(
            id: EntryID(term: Term(header.term), index: LogIndex(header.index)), kind: kind, payload: [UInt8](payload))
    }
}
