import RaftCore
import RaftStorage

/// What is not as it was written: bits that flip, and who looks for them.
extension NodeFiles {
    /// Bits flip in one place that was synced long ago: not in what the last write brought, nor in both slots of the metadata.
    ///
    /// - Returns: the file; nil when there is nothing old enough.
    func rot() -> String? {
        let paths = fileSystem.paths.filter { isUsed($0) && !$0.hasSuffix("/LOCK") }
        // There are more files of the log.
        let snapshots = paths.filter { $0.hasSuffix(".snapshot") }
        guard let path = random.pick(!snapshots.isEmpty && random.chance(1, in: 3) ? snapshots : paths) else {
            return nil
        }
        var end = fileSystem.contents(path)?.count ?? 0
        if path.hasSuffix("/metadata") {
            end = min(end, 512)
        } else if let lastGroup, path == lastGroup.path {
            end = lastGroup.offset
        }
        guard end > 0 else { return nil }
        var start = random.int(in: 0...end - 1)
        // The rest of the first page holds nothing.
        if path.hasSuffix(".snapshot"), end > 4096, (20..<4096).contains(start) {
            start = random.int(in: 4096...end - 1)
        }
        let count = min(end - start, random.int(in: 1...64))
        fileSystem.decay(
            path, at: start, by: (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() | 1) })
        return isDecayed(path) ? path : nil
    }

    /// Whether anything that a node may still read has bits in it that flipped.
    var isDecayed: Bool { fileSystem.decayedPaths.contains(where: isUsed) }

    func isDecayed(_ path: String) -> Bool { fileSystem.decayedPaths.contains(path) }

    /// Neither given up nor waiting for its use.
    private func isUsed(_ path: String) -> Bool {
        if path.hasSuffix(".damaged") { return false }
        guard path.hasSuffix(".segment"), let lastGroup else { return true }
        // Names are of fixed width.
        return path <= lastGroup.path
    }

    /// Reads the sealed segments and a snapshot back.
    func scrub(_ snapshot: SnapshotDescriptor?) -> Scrubber.Report {
        guard let directory else { return Scrubber.Report() }
        return Scrubber(directory, bytesPerSecond: .max).pass(snapshot: snapshot)
    }

    /// What a start would find damaged at this moment; what the scrub leaves to it, the segment that is being written, excepted.
    ///
    /// - Parameter snapshot: the one that the log names.
    func findNeglectedDamage(_ snapshot: SnapshotDescriptor?) -> StorageError? {
        let copy = fileSystem.copy()
        copy.kill()
        let damage: StorageError?
        do throws(StorageError) {
            let directory = try DataDirectory.open(Self.path, in: copy, options: options, entropy: { 0x5c12_0b5e })
            // A start says what it finds first, and that may be the segment.
            if let snapshot { _ = try Self.read(snapshot, from: directory.snapshots) }
            damage = try directory.recover { descriptor throws(StorageError) in
                _ = try Self.read(descriptor, from: directory.snapshots)
            }.damage
        } catch {
            damage = error
        }
        return damage?.path == lastGroup?.path ? nil : damage
    }

    /// Changes with every look at the files and every change of them.
    var operations: Int { fileSystem.operationCount }
}
