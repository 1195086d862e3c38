internal import EsperTypes

/// Segment files ahead of use and behind it: fills new ones with zeros, gives old ones a new place, removes the rest.
///
/// A write into space that is allocated and has been written before needs no change of the file's metadata, so its
/// sync is one device write: about half the time of a growing file. `prepare` and `discard` run on the maintenance
/// thread; `take` on the writer's, where it only prepares a file itself when none is ready.
package final class SegmentPool: Sendable {
    struct Prepared: Sendable {
        var ordinal: UInt64
        var file: any File
        var sizeBytes: Int
    }

    private struct State {
        var nextOrdinal: UInt64
        var prepared: [Prepared] = []
        /// Segments whose entries nobody needs, ascending. One stays listed until its file is gone: a later one that went before it
        /// would leave a gap, which a start takes for damage.
        var discarded: [UInt64] = []
        /// Files are being made or removed.
        var isPreparing = false
    }

    let fileSystem: any FileSystem
    let directory: String
    let segmentBytes: Int
    private let spareSegments: Int
    private let state: Monitor<State>

    private static let fillBytes = 256 << 10

    /// - Parameter prepared: files that wait already, ascending and following the log's last segment.
    init(
        fileSystem: any FileSystem, directory: String, options: StorageOptions, prepared: [Prepared],
        nextOrdinal: UInt64, discarded: [UInt64]
    ) {
        self.fileSystem = fileSystem
        self.directory = directory
        segmentBytes = options.segmentBytes
        spareSegments = options.spareSegments
        state = Monitor(State(nextOrdinal: nextOrdinal, prepared: prepared, discarded: discarded))
    }

    static func path(_ directory: String, _ ordinal: UInt64) -> String {
        directory + "/" + hexadecimal(ordinal) + suffix
    }

    static let suffix = ".segment"
    static let unfinishedSuffix = ".new"

    func path(_ ordinal: UInt64) -> String { Self.path(directory, ordinal) }

    package var preparedCount: Int { state.withLock { $0.prepared.count } }

    package var wantsWork: Bool {
        state.withLock { !$0.discarded.isEmpty || (!$0.isPreparing && $0.prepared.count < spareSegments) }
    }

    /// The next segment file, at least `minimumBytes` large. Waits when it is being prepared, prepares it when nobody does.
    func take(minimumBytes: Int) throws(FileError) -> Prepared {
        var taken: Prepared?
        while taken == nil {
            let found: Prepared?? = state.wait { state -> Prepared?? in
                if !state.prepared.isEmpty { return .some(state.prepared.removeFirst()) }
                return state.isPreparing ? nil : .some(nil)
            }
            if let found, let prepared = found {
                taken = prepared
            } else {
                try prepare(pause: nil)
            }
        }
        guard var prepared = taken else { preconditionFailure("a segment was taken") }
        if prepared.sizeBytes < minimumBytes {
            try Self.fill(prepared.file, from: prepared.sizeBytes, to: minimumBytes, pause: nil)
            prepared.sizeBytes = minimumBytes
        }
        return prepared
    }

    /// Gives segments back; what is stored in them must be in a durable snapshot.
    func discard(_ ordinals: [UInt64]) {
        guard !ordinals.isEmpty else { return }
        state.withLock { $0.discarded.append(contentsOf: ordinals) }
    }

    /// Prepares segments until enough are ready and removes what is not needed, as far as the disk lets it.
    ///
    /// - Returns: why a file could not be prepared or removed, and so commands are to be refused; nil: all was done. To be tried again.
    /// - Throws: a sync has failed: nothing may be tried again, the process must stop.
    package func maintain(pause: (@Sendable () -> Void)?) throws(StorageError) -> StorageError? {
        do throws(FileError) {
            while state.withLock({ !$0.isPreparing && $0.prepared.count < spareSegments }) { try prepare(pause: pause) }
            while try removeNext() {}
            return nil
        } catch {
            if error.isFailedSync { throw StorageError(error) }
            return StorageError(error)
        }
    }

    /// - Returns: false when there is nothing to remove, or another thread is at work.
    private func removeNext() throws(FileError) -> Bool {
        let next: UInt64? = state.withLock { state in
            guard !state.isPreparing, let first = state.discarded.first else { return nil }
            state.isPreparing = true
            return first
        }
        guard let next else { return false }
        let result = Result { () throws(FileError) in try remove(next) }
        state.withLock {
            $0.isPreparing = false
            if case .success = result { $0.discarded.removeFirst() }
        }
        state.notify()
        try result.get()
        return true
    }

    /// Durable when it returns. An attempt before may have got as far as this.
    private func remove(_ ordinal: UInt64) throws(FileError) {
        do {
            try fileSystem.remove(path(ordinal))
        } catch  where error.isNotFound {}
        try fileSystem.synchronizeDirectory(directory)
    }

    private func prepare(pause: (@Sendable () -> Void)?) throws(FileError) {
        let work: (ordinal: UInt64, recycled: UInt64?)? = state.withLock { state in
            guard !state.isPreparing else { return nil }
            state.isPreparing = true
            return (state.nextOrdinal, state.discarded.first)
        }
        guard let work else { return }
        do throws(FileError) {
            let file = try makeFile(work.ordinal, recycling: work.recycled, pause: pause)
            let size = Int(try file.sizeBytes())
            state.withLock {
                if work.recycled != nil { $0.discarded.removeFirst() }
                $0.prepared.append(Prepared(ordinal: work.ordinal, file: file, sizeBytes: size))
                $0.nextOrdinal = work.ordinal + 1
                $0.isPreparing = false
            }
            state.notify()
        } catch {
            state.withLock { $0.isPreparing = false }
            state.notify()
            throw error
        }
    }

    private func makeFile(
        _ ordinal: UInt64, recycling old: UInt64?, pause: (@Sendable () -> Void)?
    ) throws(FileError) -> any File {
        if let old, let file = try openIfPresent(path(old)) {
            if try file.sizeBytes() == UInt64(segmentBytes) {
                try fileSystem.rename(path(old), to: path(ordinal))
                try fileSystem.synchronizeDirectory(directory)
                file.close()
                return try fileSystem.open(path(ordinal))
            }
            file.close()
            try remove(old)
        }
        return try Self.makeFile(
            path(ordinal), sizeBytes: segmentBytes, in: fileSystem, directory: directory, pause: pause)
    }

    /// - Returns: nil for what an attempt before has renamed or removed.
    private func openIfPresent(_ path: String) throws(FileError) -> (any File)? {
        do {
            return try fileSystem.open(path)
        } catch  where error.isNotFound {
            return nil
        }
    }

    /// The first segment of a log, with its header and no group yet, durable with its name.
    static func makeFirst(
        _ header: SegmentHeader, in fileSystem: any FileSystem, directory: String
    ) throws(FileError) {
        let file = try makeFile(
            path(directory, header.ordinal), sizeBytes: header.segmentBytes, in: fileSystem, directory: directory,
            pause: nil)
        defer { file.close() }
        try file.writeBytes(header.encoded(), at: 0)
        try file.synchronize()
    }

    /// A new file full of zeros under its final name, durable with its name.
    static func makeFile(
        _ path: String, sizeBytes: Int, in fileSystem: any FileSystem, directory: String, pause: (@Sendable () -> Void)?
    ) throws(FileError) -> any File {
        let unfinished = path + unfinishedSuffix
        let file = try fileSystem.create(unfinished)
        try fill(file, from: 0, to: sizeBytes, pause: pause)
        try fileSystem.rename(unfinished, to: path)
        try fileSystem.synchronizeDirectory(directory)
        file.close()
        return try fileSystem.open(path)
    }

    /// Writes zeros and syncs them; with a pause after every 256 KiB, so that the log's own syncs come in between.
    private static func fill(
        _ file: any File, from start: Int, to end: Int, pause: (@Sendable () -> Void)?
    ) throws(FileError) {
        try file.reserve(UInt64(end))
        let zeros = [UInt8](repeating: 0, count: min(fillBytes, end - start))
        var offset = start
        while offset < end {
            let count = min(zeros.count, end - offset)
            try file.writeBytes(count == zeros.count ? zeros : [UInt8](zeros[..<count]), at: UInt64(offset))
            offset += count
            if let pause {
                try file.synchronize()
                pause()
            }
        }
        try file.synchronize()
    }
}
