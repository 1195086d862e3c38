internal import EsperTypes
internal import RaftCore

/// What can still be said of a damaged log: above all, which term none of this node's promises is above.
///
/// Every record, segment header and metadata slot that tells how far the log was durable also tells the term at that
/// point. So whatever is unreadable, the one that tells the furthest point D bounds the term of everything acknowledged, as long as it
/// is known to stand at the log's end: it is a record, behind which everything could be read; or the slot of a clean stop. A
/// slot written in between may be a second old, and does not do.
struct LogSalvage {
    let fileSystem: any FileSystem
    let directory: String
    let metadata: Metadata

    struct Findings {
        /// No vote and no acknowledgement was given in a later term; nil when that cannot be told.
        var term: Term?
        /// Behind every batch that was ever numbered.
        var nextSequence: UInt64
        /// Behind every file that is there.
        var nextOrdinal: UInt64
        /// The cluster's first configuration, when any segment still says it.
        var baseConfiguration: Configuration?
    }

    /// - Throws: what is no damage, such as a segment of a newer format.
    func run() throws(StorageError) -> Findings {
        let recovery = LogRecovery(fileSystem: fileSystem, directory: directory, metadata: metadata)
        let (segments, unused) = try recovery.openSegments()
        defer { for segment in segments { segment.file.close() } }
        var evidence = Evidence(metadata)
        for segment in segments { evidence.add(segment.header) }
        if let last = segments.last {
            let isNewest = last.ordinal >= metadata.activeSegment
            try scan(last, isNewest: isNewest, into: &evidence)
        }
        let files = segments.map(\.ordinal) + unused + [metadata.activeSegment]
        return Findings(
            term: evidence.isEndKnown ? evidence.term : nil, nextSequence: evidence.sequence + 1,
            nextOrdinal: (files.max() ?? 0) + 1, baseConfiguration: segments.first?.header.state.baseConfiguration)
    }

    private struct Evidence {
        /// The highest term that is mentioned anywhere.
        var term: Term
        /// D: everything up to this batch was durable.
        var durableThrough: UInt64
        /// The highest number of a batch that is mentioned anywhere.
        var sequence: UInt64
        /// Where the term is known and nothing acknowledged lies behind.
        private var endSequence: UInt64?

        init(_ metadata: Metadata) {
            term = max(metadata.closedIn ?? .zero, metadata.lostThrough ?? .zero)
            durableThrough = metadata.durableThrough
            sequence = metadata.durableThrough
            if metadata.closedIn != nil { endSequence = metadata.durableThrough }
        }

        var isEndKnown: Bool { endSequence.map { $0 >= durableThrough } ?? false }

        mutating func add(_ header: SegmentHeader) {
            term = max(term, header.state.hardState.term)
            durableThrough = max(durableThrough, header.durableThrough)
            sequence = max(sequence, header.durableThrough, header.firstSequence)
        }

        mutating func add(_ record: RecordHeader, isAtEnd: Bool) {
            durableThrough = max(durableThrough, record.durableThrough)
            sequence = max(sequence, record.durableThrough, record.sequence)
            guard let term = record.termInForce else { return }
            self.term = max(self.term, term)
            if isAtEnd { ends(at: record.durableThrough) }
        }

        mutating func ends(at sequence: UInt64) { endSequence = max(endSequence ?? 0, sequence) }
    }

    private func scan(
        _ segment: LogRecovery.Segment, isNewest: Bool, into evidence: inout Evidence
    ) throws(StorageError) {
        let (bytes, readableFrom) = readable(segment.file, segment.header.segmentBytes)
        bytes.withUnsafeBytes { bytes in
            var scan = SegmentScan(
                bytes: bytes, salt: segment.header.salt, sectorBytes: segment.header.sectorBytes,
                position: min(segment.headerBytes, bytes.count), chain: segment.checksum,
                sequence: segment.header.firstSequence - 1, durableThrough: segment.header.durableThrough)
            let start = scan.position
            var records: [SegmentScan.Record] = []
            while scan.nextGroup(into: &records) {
                for record in records where record.header.kind == .hardState {
                    var reader = ByteReader([UInt8](record.payload))
                    if let state = try? reader.readHardState() { evidence.term = max(evidence.term, state.term) }
                }
            }
            scan.forEachReadableRecord(from: start) { record, offset in
                evidence.add(record, isAtEnd: isNewest && offset >= readableFrom)
            }
            // When the damage lies in an earlier segment, and this one is whole.
            if isNewest, readableFrom == 0 { evidence.ends(at: scan.sequence) }
        }
    }

    /// The file's bytes, with zeros where the disk refuses to read them, and where the last of those end; of a file that
    /// is too short, nothing is known of the end.
    private func readable(_ file: any File, _ count: Int) -> (bytes: [UInt8], readableFrom: Int) {
        let pieceBytes = 64 << 10
        var bytes: [UInt8] = []
        bytes.reserveCapacity(min(count, Int(clamping: (try? file.sizeBytes()) ?? 0)))
        var readableFrom = 0
        while bytes.count < count {
            let wanted = min(pieceBytes, count - bytes.count)
            let piece = try? file.readBytes(wanted, at: UInt64(bytes.count))
            if let piece, piece.isEmpty { return (bytes, count) }
            bytes += piece ?? [UInt8](repeating: 0, count: wanted)
            if piece == nil { readableFrom = bytes.count }
        }
        return (bytes, readableFrom)
    }
}
