internal import EsperTypes
internal import RaftCore

/// What recovery found: the log's content and where writing goes on.
struct RecoveredLog {
    var state: LogState
    var entries: [Entry]
    var active: WriteAheadLog.ActiveSegment
    var highest: [(ordinal: UInt64, index: LogIndex)]
    var sequence: UInt64
    /// Segment files after the active one that wait for use.
    var prepared: [UInt64]
    /// Segment files before the log's first one.
    var obsolete: [UInt64]
    /// Where a write was cut off by a crash; it was never acknowledged.
    var tornTail: (path: String, offset: UInt64)?
    /// Whether the active segment's header needs to be written again: one of its two copies is unreadable.
    var repairsHeader: [UInt8]?
}

/// Reads a log back after a clean stop or a crash (docs/DURABILITY.md has the argument).
///
/// The first unreadable record has the sequence s that must come next. D is the highest batch that any readable
/// record, segment header or metadata slot calls durable. With s > D, in the last segment, it is what a crash left of
/// a write that nobody was told about: it is cut. Anything else is damage to what was acknowledged: never cut, refused
/// with file and offset.
struct LogRecovery {
    let fileSystem: any FileSystem
    let directory: String
    let metadata: Metadata
    var parallelReadBytes = Int.max

    struct Segment: Sendable {
        var ordinal: UInt64
        var path: String
        var file: any File
        var header: SegmentHeader
        var headerBytes: Int
        var checksum: UInt32
        var isHeaderComplete: Bool

        func corrupted(at offset: Int, _ message: String) -> StorageError {
            StorageError(.corrupted, message, path: path, offset: UInt64(offset))
        }

        func isCut(to bytes: UInt64) -> StorageError {
            corrupted(at: Int(clamping: bytes), "the file has \(bytes) bytes instead of \(header.segmentBytes)")
        }
    }

    /// - Parameter read: gets entries as the files hold them, in their order; a later record may take some of them back.
    func run(reading read: ([Entry]) -> Void = { _ in }) throws(StorageError) -> RecoveredLog {
        let (segments, unused) = try openSegments()
        guard let first = segments.first, let last = segments.last else {
            throw StorageError(
                .corrupted, "no segment of the log has a readable header",
                path: SegmentPool.path(directory, metadata.activeSegment), offset: 0)
        }
        try checkContinuity(segments)
        var replay = LogReplay(from: first.header.state)
        var highest: [(ordinal: UInt64, index: LogIndex)] = []
        var end = SegmentEnd(
            position: 0, chain: 0, sequence: first.header.firstSequence - 1,
            durableThrough: max(metadata.durableThrough, first.header.durableThrough), badOffset: 0,
            hasTornRecords: false)
        let reader = SegmentReader(segments, parallelBytes: parallelReadBytes)
        for (position, segment) in segments.enumerated() {
            end = try self.replay(try reader.next(), of: segment, after: end, into: &replay, read)
            highest.append((segment.ordinal, replay.highestIndex))
            guard position + 1 < segments.count else { break }
            let next = segments[position + 1].header
            guard next.previousEnd == end.position, next.previousChain == end.chain,
                next.firstSequence == end.sequence + 1
            else {
                throw segment.corrupted(
                    at: end.badOffset,
                    "record \(end.sequence + 1) is unreadable, but segment \(next.ordinal) goes on after it")
            }
        }
        guard end.sequence >= end.durableThrough else {
            throw last.corrupted(
                at: end.badOffset,
                "record \(end.sequence + 1) is unreadable, but everything up to \(end.durableThrough) was acknowledged")
        }
        guard let entries = replay.finish() else {
            throw first.corrupted(
                at: 0, "entry \(replay.missingFrom) should be in a segment before this one, which is gone")
        }
        return RecoveredLog(
            state: replay.state, entries: entries,
            active: WriteAheadLog.ActiveSegment(
                ordinal: last.ordinal, file: last.file, salt: last.header.salt, sectorBytes: last.header.sectorBytes,
                segmentBytes: last.header.segmentBytes, position: end.position, chain: end.chain),
            highest: highest, sequence: end.sequence, prepared: unused.filter { $0 > last.ordinal },
            obsolete: unused.filter { $0 < first.ordinal },
            tornTail: end.hasTornRecords ? (last.path, UInt64(end.badOffset)) : nil,
            repairsHeader: last.isHeaderComplete ? nil : last.header.encoded())
    }

    private func checkContinuity(_ segments: [Segment]) throws(StorageError) {
        for (before, after) in zip(segments, segments.dropFirst()) where after.ordinal != before.ordinal + 1 {
            throw StorageError(
                .corrupted,
                "the segment is missing or its header is unreadable, but segment \(after.ordinal) follows it",
                path: SegmentPool.path(directory, before.ordinal + 1), offset: 0)
        }
        if let last = segments.last, last.ordinal < metadata.activeSegment {
            throw StorageError(
                .corrupted, "the segment is missing or its header is unreadable, but it was in use",
                path: SegmentPool.path(directory, last.ordinal + 1), offset: 0)
        }
    }

    private struct SegmentEnd {
        var position: Int
        var chain: UInt32
        var sequence: UInt64
        var durableThrough: UInt64
        var badOffset: Int
        var hasTornRecords: Bool
    }

    /// Replays one segment.
    private func replay(
        _ content: SegmentContent, of segment: Segment, after previous: SegmentEnd, into replay: inout LogReplay,
        _ read: ([Entry]) -> Void
    ) throws(StorageError) -> SegmentEnd {
        for (step, offset) in content.steps {
            if let problem = replay.apply(step) { throw segment.corrupted(at: offset, problem) }
            if case .entries(let entries) = step { read(entries) }
        }
        return SegmentEnd(
            position: content.position, chain: content.chain, sequence: content.sequence,
            durableThrough: max(previous.durableThrough, content.durableThrough), badOffset: content.badOffset,
            hasTornRecords: content.hasTornRecords)
    }

    /// The segments in use, ascending, and the numbers of the other segment files.
    func openSegments() throws(StorageError) -> (used: [Segment], unused: [UInt64]) {
        var used: [Segment] = []
        var unused: [UInt64] = []
        var newer: (path: String, version: UInt32)?
        do throws(FileError) {
            for name in try fileSystem.list(directory) {
                if name.hasSuffix(SegmentPool.suffix + SegmentPool.unfinishedSuffix) {
                    try fileSystem.remove(directory + "/" + name)
                }
                guard name.hasSuffix(SegmentPool.suffix),
                    let ordinal = UInt64(name.dropLast(SegmentPool.suffix.count), radix: 16)
                else { continue }
                let path = SegmentPool.path(directory, ordinal)
                let file = try fileSystem.open(path)
                // The last group may be no more than what a process before wrote; it is in one of these.
                if ordinal >= metadata.activeSegment { try file.settle() }
                let start = try file.readBytes(64 << 10, at: 0)
                switch start.withUnsafeBytes({ SegmentHeader.read($0) }) {
                case .header(let header, let bytes, let checksum, let isComplete)
                where header.ordinal == ordinal && ordinal >= metadata.firstSegment:
                    used.append(
                        Segment(
                            ordinal: ordinal, path: path, file: file, header: header, headerBytes: bytes,
                            checksum: checksum, isHeaderComplete: isComplete))
                case .header, .none: unused.append(ordinal)
                case .newerFormat(let version): newer = (path, version)
                }
            }
        } catch {
            throw StorageError(error)
        }
        if let newer {
            throw StorageError(
                .newerFormat,
                "written with format version \(newer.version), this program reads up to \(storageFormatVersion)",
                path: newer.path)
        }
        for segment in used where segment.header.identity != metadata.identity {
            throw StorageError(
                segment.header.identity.cluster != metadata.identity.cluster ? .wrongCluster : .wrongNode,
                "the segment was written by node \(segment.header.identity.node) of cluster "
                    + "\(segment.header.identity.cluster), incarnation \(segment.header.identity.incarnation)",
                path: segment.path)
        }
        return (used, unused)
    }
}
