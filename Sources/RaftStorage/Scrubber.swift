internal import EsperTypes
public import RaftCore
internal import Synchronization

/// Reads back what was written long ago, slowly: sealed segments of the log and the newest snapshot.
///
/// Bits rot where nobody looks; found in time, a node still has all of it in memory and writes it anew. The segment that is being
/// written is left out: its end moves, and a start reads it whole. A thread of its own; a pass at a time.
public final class Scrubber: Sendable {
    public struct Report: Sendable {
        public var bytes: UInt64 = 0
        /// One for each damaged file, with the offset.
        public var damages: [StorageError] = []

        package init() {}
    }

    private struct State {
        var thread: DedicatedThread?
        var isStopping = false
    }

    private let directory: DataDirectory
    private let bytesPerSecond: Int
    private let state = Monitor(State())

    private static let pieceBytes = 256 << 10

    /// - Parameter bytesPerSecond: the most that is read in a second.
    public init(_ directory: DataDirectory, bytesPerSecond: Int) {
        self.directory = directory
        self.bytesPerSecond = max(bytesPerSecond, 1)
    }

    /// Begins a pass. Not before the one before has reported.
    ///
    /// - Parameters:
    ///   - snapshot: the one that the log names.
    ///   - finished: called on the pass's thread, unless the scrubber is stopped before.
    public func start(snapshot: SnapshotDescriptor?, finished: @escaping @Sendable (Report) -> Void) {
        let previous = state.withLock { state in
            defer { state.thread = nil }
            return state.thread
        }
        previous?.join()
        state.withLock { state in
            guard !state.isStopping else { return }
            state.thread = DedicatedThread(name: "esper-scrub") { [self] in
                let report = pass(snapshot: snapshot)
                if !isStopping { finished(report) }
            }
        }
    }

    /// Ends a pass that is under way; returns when its thread has ended, which is at most one read later.
    public func stop() {
        let thread = state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        state.notify()
        thread?.join()
    }

    /// One pass on the caller's thread.
    package func pass(snapshot: SnapshotDescriptor?) -> Report {
        var report = Report()
        for path in sealedSegments() where !isStopping {
            if let damage = check(segment: path, &report) { report.damages.append(damage) }
        }
        if let snapshot, !isStopping, let damage = check(snapshot, &report) { report.damages.append(damage) }
        return report
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    // MARK: Segments

    private func sealedSegments() -> [String] {
        let metadata = directory.metadata.metadata
        let log = DataDirectory.logDirectory(directory.path)
        // A directory that cannot be listed has bigger troubles, which the log meets by itself.
        let names = (try? directory.fileSystem.list(log)) ?? []
        return names.filter { name in
            guard name.hasSuffix(SegmentPool.suffix),
                let ordinal = UInt64(name.dropLast(SegmentPool.suffix.count), radix: 16)
            else { return false }
            return ordinal >= metadata.firstSegment && ordinal < metadata.activeSegment
        }.map { log + "/" + $0 }
    }

    /// - Returns: what is wrong; nil also for a segment that was given back meanwhile.
    private func check(segment path: String, _ report: inout Report) -> StorageError? {
        guard let damage = readAndCheck(path, &report), isInPlace(path) else { return nil }
        return damage
    }

    private func readAndCheck(_ path: String, _ report: inout Report) -> StorageError? {
        do throws(FileError) {
            let file = try directory.fileSystem.open(path)
            defer { file.close() }
            file.dropCached()
            let size = Int(try file.sizeBytes())
            var bytes: [UInt8] = []
            bytes.reserveCapacity(size)
            while bytes.count < size {
                let piece = try file.readBytes(min(Self.pieceBytes, size - bytes.count), at: UInt64(bytes.count))
                guard !piece.isEmpty, pause(after: piece.count) else { return nil }
                bytes += piece
                report.bytes += UInt64(piece.count)
            }
            return bytes.withUnsafeBytes { check($0, path) }
        } catch {
            return StorageError(error)
        }
    }

    /// A sealed segment is sound when its last group is the one that the next segment goes on after.
    private func check(_ bytes: UnsafeRawBufferPointer, _ path: String) -> StorageError? {
        guard case .header(let header, let start, let checksum, _) = SegmentHeader.read(bytes),
            header.segmentBytes == bytes.count
        else { return StorageError(.corrupted, "the segment's header is unreadable", path: path, offset: 0) }
        var scan = SegmentScan(
            bytes: bytes, salt: header.salt, sectorBytes: header.sectorBytes, position: start, chain: checksum,
            sequence: header.firstSequence - 1, durableThrough: header.durableThrough)
        var records: [SegmentScan.Record] = []
        while scan.nextGroup(into: &records) {}
        let next = SegmentPool.path(DataDirectory.logDirectory(directory.path), header.ordinal + 1)
        guard let file = try? directory.fileSystem.open(next), let head = try? file.readBytes(64 << 10, at: 0),
            case .header(let following, _, _, _) = head.withUnsafeBytes({ SegmentHeader.read($0) }),
            following.ordinal == header.ordinal + 1
        else { return nil }
        guard following.previousEnd == scan.position, following.previousChain == scan.chain else {
            return StorageError(
                .corrupted, "record \(scan.sequence + 1) is unreadable", path: path, offset: UInt64(scan.badOffset))
        }
        return nil
    }

    /// A segment that is not needed any more loses its name before its bytes change.
    private func isInPlace(_ path: String) -> Bool {
        (try? directory.fileSystem.exists(path)) ?? false
    }

    // MARK: Snapshots

    private func check(_ snapshot: SnapshotDescriptor, _ report: inout Report) -> StorageError? {
        do throws(StorageError) {
            let reader = try directory.snapshots.open(snapshot)
            defer { reader.close() }
            reader.dropCached()
            var offset: UInt64 = 0
            while offset < snapshot.sizeBytes {
                let (bytes, isLast) = try reader.read(at: offset, maximumBytes: Self.pieceBytes)
                offset += UInt64(bytes.count)
                report.bytes += UInt64(bytes.count)
                if isLast || !pause(after: bytes.count) { break }
            }
            return nil
        } catch {
            // One that was replaced by a newer meanwhile is gone, and nobody misses it.
            return error.code == .snapshotMissing || !isInPlace(directory.snapshots.path(snapshot)) ? nil : error
        }
    }

    /// - Returns: false when the pass is to end.
    private func pause(after bytes: Int) -> Bool {
        let limit = Duration.nanoseconds(Int64(bytes) * 1_000_000_000 / Int64(bytesPerSecond))
        guard limit > .zero else { return !isStopping }
        return state.wait(atMost: limit) { $0.isStopping ? true : nil } == nil
    }
}
