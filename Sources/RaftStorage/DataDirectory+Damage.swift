internal import EsperTypes
internal import RaftCore

// What a start does when something that was acknowledged cannot be read back; docs/DURABILITY.md has the argument.
extension DataDirectory {
    /// Files that were found damaged are kept under this name, for whoever wants to know what happened; a start ignores them.
    static let damagedSuffix = ".damaged"

    /// Gives the log up and begins it anew behind the newest sound snapshot, one term above every promise, the vote used up.
    ///
    /// The metadata slots are the commit point: after a crash before it the next start finds the same damage, after it a sound log.
    func beginAnew(
        after damage: StorageError, checking check: (SnapshotDescriptor) throws(StorageError) -> Void
    ) throws(StorageError) {
        let directory = Self.logDirectory(path)
        let found = try LogSalvage(fileSystem: fileSystem, directory: directory, metadata: metadata.metadata).run()
        let snapshot = try newestSound(checking: check)
        guard let term = found.term, let base = found.baseConfiguration ?? snapshot?.configuration else {
            var error = damage
            error.message += "; and what this node voted for and acknowledged last cannot be told from the rest"
            throw error
        }
        // Alone there is nobody to fetch anything from.
        guard (snapshot?.configuration ?? base).voters != [identity.node] else { throw damage }
        let lost = max(term, snapshot?.id.term ?? .zero)
        var state = LogState(baseConfiguration: base)
        state.hardState = HardState(term: lost.next, vote: identity.node)
        state.snapshot = snapshot
        state.compactedThrough = snapshot?.id ?? .zero
        state.lastIndex = snapshot?.index ?? .zero
        let header = SegmentHeader(
            identity: identity, ordinal: found.nextOrdinal, salt: SegmentSalt(entropy()),
            sectorBytes: options.sectorBytes, segmentBytes: options.segmentBytes, previousEnd: 0, previousChain: 0,
            firstSequence: found.nextSequence, durableThrough: found.nextSequence - 1, state: state)
        do throws(FileError) {
            try SegmentPool.makeFirst(header, in: fileSystem, directory: directory)
            try metadata.beginAnew(
                firstSegment: found.nextOrdinal, durableThrough: found.nextSequence - 1, lostThrough: lost)
            try setAside(damage.path)
        } catch {
            throw StorageError(error)
        }
    }

    /// Any snapshot that stands whole in its place is a state that the cluster committed, whether the log names it or not.
    private func newestSound(
        checking check: (SnapshotDescriptor) throws(StorageError) -> Void
    ) throws(StorageError) -> SnapshotDescriptor? {
        for snapshot in try snapshots.list().reversed() {
            do throws(StorageError) {
                try check(snapshot)
                return snapshot
            } catch {
                guard error.isDamage else { throw error }
            }
        }
        return nil
    }

    private func setAside(_ path: String) throws(FileError) {
        guard let slash = path.lastIndex(of: "/"), try fileSystem.exists(path) else { return }
        try fileSystem.rename(path, to: path + Self.damagedSuffix)
        try fileSystem.synchronizeDirectory(String(path[..<slash]))
    }
}
