internal import EsperTypes
package import RaftCore

/// The end of the log: turns batches into groups, writes each with one call, and knows what is durable.
///
/// Synchronous and without a thread of its own; ``LogWriter`` gives it one. The first error latches: a log that
/// failed once refuses everything after, because the kernel may have dropped the bytes it failed to write.
///
/// `@unchecked Sendable`: it is made by ``DataDirectory`` and then used by one thread only, the one it was given to.
package final class WriteAheadLog: @unchecked Sendable {
    /// The segment that is being written.
    struct ActiveSegment {
        var ordinal: UInt64
        var file: any File
        var salt: SegmentSalt
        var sectorBytes: Int
        var segmentBytes: Int
        /// Where the next group goes; a multiple of the sector.
        var position: Int
        var chain: UInt32
        /// The header while it is not written yet; goes with the first group.
        var unwrittenHeader: [UInt8] = []
    }

    package let pool: SegmentPool
    private let metadata: MetadataFile
    private let identity: StorageIdentity
    private let options: StorageOptions
    private let entropy: @Sendable () -> UInt64
    private var segment: ActiveSegment
    private var state: LogState
    /// Every segment with the highest index written up to its end; the active one is the last.
    private var highest: [(ordinal: UInt64, index: LogIndex)]
    private var sequence: UInt64
    package private(set) var durableThrough: UInt64
    /// Where the last group lies.
    package private(set) var lastGroup: (path: String, offset: Int)
    private var markedThrough: UInt64
    private var failure: StorageError?
    private let buffer = GroupBuffer()

    init(
        recovered: RecoveredLog, pool: SegmentPool, metadata: MetadataFile, options: StorageOptions,
        entropy: @escaping @Sendable () -> UInt64
    ) {
        self.pool = pool
        self.metadata = metadata
        self.options = options
        self.entropy = entropy
        identity = metadata.metadata.identity
        segment = recovered.active
        lastGroup = (pool.path(recovered.active.ordinal), recovered.active.position)
        state = recovered.state
        highest = recovered.highest
        sequence = recovered.sequence
        durableThrough = recovered.sequence
        markedThrough = recovered.sequence
    }

    package var activeSegment: UInt64 { segment.ordinal }

    /// Begins a new life of the chain. Before anything else is written.
    func begin() throws(StorageError) {
        try latching { () throws(StorageError) in
            let size = GroupBuffer.recordBytes(8)
            if segment.position + size.roundedUp(to: segment.sectorBytes) > segment.segmentBytes {
                try roll(minimumGroupBytes: size)
            }
            startGroup()
            sequence += 1
            var life = ByteWriter(capacity: 8)
            life.write(entropy())
            buffer.append(.opened, sequence: sequence, durableThrough: durableThrough, payload: life.bytes)
            buffer.endBatch()
            try writeGroup()
            try metadata.update(durableThrough: durableThrough, activeSegment: segment.ordinal)
        }
    }

    /// Writes batches in order, as few groups as fit, and returns when all are durable.
    ///
    /// - Parameter afterGroup: called when the batches up to this position are durable.
    package func write(_ batches: [WriteBatch], afterGroup: (Int) -> Void = { _ in }) throws(StorageError) {
        var start = 0
        while start < batches.count {
            let end = try writeNextGroup(batches, from: start)
            afterGroup(end)
            start = end
        }
    }

    private func writeNextGroup(_ batches: [WriteBatch], from start: Int) throws(StorageError) -> Int {
        var end = start
        try latching { () throws(StorageError) in
            var bytes = GroupBuffer.encodedBytes(batches[start])
            if segment.position + bytes.roundedUp(to: segment.sectorBytes) > segment.segmentBytes {
                try roll(minimumGroupBytes: bytes)
            }
            let space = segment.segmentBytes - segment.position - segment.unwrittenHeader.count
            startGroup()
            bytes = 0
            var compacts = false
            while end < batches.count {
                let batch = batches[end]
                bytes += GroupBuffer.encodedBytes(batch)
                if end > start, bytes > options.maximumGroupBytes || bytes.roundedUp(to: segment.sectorBytes) > space {
                    break
                }
                sequence += 1
                buffer.append(batch, sequence: sequence, durableThrough: durableThrough)
                // A batch that changes nothing leaves no record and needs no number.
                if GroupBuffer.encodedBytes(batch) == 0 { sequence -= 1 }
                state.add(batch)
                if let last = batch.entries.last {
                    highest[highest.count - 1].index = max(highest[highest.count - 1].index, last.index)
                }
                compacts = compacts || batch.compaction != nil || batch.installedSnapshot != nil
                end += 1
            }
            if buffer.count > segment.unwrittenHeader.count { try writeGroup() }
            if compacts { releaseSegments() }
        }
        return end
    }

    /// Leaves word, without a sync, that everything was acknowledged; costs one write into the page cache.
    package func writeIdleMark() throws(StorageError) {
        let space = segment.segmentBytes - segment.position
        guard failure == nil, markedThrough < durableThrough, segment.unwrittenHeader.isEmpty,
            space >= segment.sectorBytes
        else { return }
        try latching { () throws(StorageError) in
            let mark = GroupBuffer(capacity: segment.sectorBytes)
            mark.begin(salt: segment.salt, chain: segment.chain, termInForce: state.hardState.term)
            mark.append(.idleMark, sequence: durableThrough, durableThrough: durableThrough)
            mark.endBatch()
            mark.seal(sectorBytes: segment.sectorBytes)
            do throws(FileError) { try segment.file.write(mark.bytes, at: UInt64(segment.position)) } catch {
                throw StorageError(error)
            }
            markedThrough = durableThrough
        }
    }

    /// Prepares segments, removes old ones and brings the metadata slots up to date, on this thread.
    ///
    /// - Returns: why there is no room for what comes next, see ``SegmentPool/maintain(pause:)``.
    package func maintain() throws(StorageError) -> StorageError? {
        let refusal = try pool.maintain(pause: nil)
        try metadata.update(durableThrough: durableThrough, activeSegment: segment.ordinal)
        return refusal
    }

    /// Marks the end durably. Nothing may be written after.
    package func close() throws(StorageError) {
        try writeIdleMark()
        try latching { () throws(StorageError) in
            try metadata.close(
                durableThrough: durableThrough, activeSegment: segment.ordinal, term: state.hardState.term)
        }
        segment.file.close()
    }

    private func startGroup() {
        buffer.begin(
            salt: segment.salt, chain: segment.chain, termInForce: state.hardState.term,
            prefix: segment.unwrittenHeader)
    }

    private func writeGroup() throws(StorageError) {
        buffer.seal(sectorBytes: segment.sectorBytes)
        precondition(
            segment.position + buffer.count <= segment.segmentBytes,
            "a group of \(buffer.count) bytes at \(segment.position) in a segment of \(segment.segmentBytes)")
        do throws(FileError) { try segment.file.writeDurably(buffer.bytes, at: UInt64(segment.position)) } catch {
            throw StorageError(error)
        }
        lastGroup = (pool.path(segment.ordinal), segment.position)
        segment.position += buffer.count
        segment.chain = buffer.chain
        durableThrough = sequence
        guard !segment.unwrittenHeader.isEmpty else { return }
        segment.unwrittenHeader = []
        // Before anyone is told: a header that is unreadable later is then known to have been there.
        try metadata.update(durableThrough: durableThrough, activeSegment: segment.ordinal)
    }

    private func roll(minimumGroupBytes: Int) throws(StorageError) {
        var header = SegmentHeader(
            identity: identity, ordinal: 0, salt: SegmentSalt(entropy()), sectorBytes: options.sectorBytes,
            segmentBytes: 0, previousEnd: segment.position, previousChain: segment.chain,
            firstSequence: sequence + 1, durableThrough: durableThrough, state: state)
        let needed = header.encoded().count + minimumGroupBytes.roundedUp(to: options.sectorBytes)
        let next: SegmentPool.Prepared
        do throws(FileError) { next = try pool.take(minimumBytes: needed) } catch { throw StorageError(error) }
        header.ordinal = next.ordinal
        header.segmentBytes = next.sizeBytes
        let bytes = header.encoded()
        segment.file.close()
        segment = ActiveSegment(
            ordinal: next.ordinal, file: next.file, salt: header.salt, sectorBytes: options.sectorBytes,
            segmentBytes: next.sizeBytes, position: 0, chain: SegmentHeader.checksum(of: bytes), unwrittenHeader: bytes)
        highest.append((next.ordinal, highest.last?.index ?? .zero))
    }

    private func releaseSegments() {
        var released: [UInt64] = []
        while highest.count > 1, highest[0].index <= state.compactedThrough.index {
            released.append(highest.removeFirst().ordinal)
        }
        pool.discard(released)
    }

    private func latching(_ body: () throws(StorageError) -> Void) throws(StorageError) {
        if let failure { throw failure }
        do throws(StorageError) { try body() } catch {
            failure = error
            throw error
        }
    }
}
