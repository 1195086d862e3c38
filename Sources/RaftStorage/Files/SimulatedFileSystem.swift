#if canImport(Glibc)
    internal import Glibc
#endif
internal import Synchronization

/// Files in memory with the weakest durability a disk may have, for tests and simulation.
///
/// Keeps for every file the bytes as the process sees them and as the disk holds them, and the sectors in which they
/// differ. A sync that fails leaves its sectors as the kernel does: clean, so that no later sync writes them, and in the page cache,
/// until that is dropped or lost. ``crash(_:)`` throws the first away: each unsynced sector is lost, kept, or left as garbage, as the given
/// generator decides, and names that were changed after the last sync of their directory come back to any earlier point of
/// that directory's order. ``failOperation(_:code:)`` makes the nth operation from now fail, ``stop(after:)`` is the end of
/// the process there.
package final class SimulatedFileSystem: FileSystem {
    /// What a crash may do to one sector that was being written.
    package enum SectorFate: Sendable, Hashable, CaseIterable {
        case lost, kept, garbage
    }

    /// Numbers for choices; a value so that a seed repeats a run.
    package typealias Choose = (_ upperBound: Int) -> Int

    fileprivate static let sectorBytes = 512

    fileprivate final class Node: Sendable {
        struct Content {
            var visible: [UInt8] = []
            var durable: [UInt8] = []
            var dirtySectors: Set<Int> = []
            /// Not on the disk, and nobody will write them any more: their sync has failed.
            var abandonedSectors: Set<Int> = []
            /// What bits that flipped have made of a byte.
            var decays: [(offset: Int, byte: UInt8)] = []

            /// Whether any such byte still stands.
            var isDecayed: Bool {
                decays.contains { decay in
                    [visible, durable].contains { decay.offset < $0.count && $0[decay.offset] == decay.byte }
                }
            }

            mutating func abandon(_ sectors: Set<Int>) {
                dirtySectors.subtract(sectors)
                abandonedSectors.formUnion(sectors)
            }
        }

        let content = Mutex(Content())
    }

    private enum NameChange {
        case set(String, Node)
        case rename(String, String)
        case remove(String)

        /// Nothing is ever moved from one directory to another.
        var directory: Substring {
            switch self {
            case .set(let path, _), .rename(_, let path), .remove(let path): SimulatedFileSystem.directory(of: path)
            }
        }
    }

    private struct State {
        var visible: [String: Node] = [:]
        var durable: [String: Node] = [:]
        /// In order, of all directories.
        var pending: [NameChange] = []
        var directories: Set<String> = []
        /// Those whose name is durable in the directory above.
        var durableDirectories: Set<String> = []
        var locks: Set<String> = []
        /// Which life of the process this is; files opened in an earlier one are dead.
        var life = 0
        var operations = 0
        var failAt: Int?
        /// Whether the operations after that fail too.
        var failsForGood = false
        var failureCode: Int32 = EIO
        var freeBytes = Int.max
        /// The operation at which the process dies, and whether it has.
        var stopAt: Int?
        var isStopped = false
        /// In this life of the process.
        var hasFailedToSynchronize = false
        var retriesSynchronization = false
        var forgetsToSynchronize: (@Sendable (String) -> Bool)?

        mutating func beginLife() {
            life += 1
            failAt = nil
            stopAt = nil
            isStopped = false
            hasFailedToSynchronize = false
        }
    }

    private let state = Mutex(State())

    package init() {}

    // MARK: Faults

    /// How many operations were made so far.
    package var operationCount: Int { state.withLock { $0.operations } }

    /// Makes the `count`th operation from now (0 is the next) fail; nil lets all succeed again.
    package func failOperation(_ count: Int?, code: Int32 = EIO) {
        state.withLock { state in
            state.failAt = count.map { state.operations + $0 }
            state.failsForGood = false
            state.failureCode = code
        }
    }

    /// Makes every operation fail from now on, whichever thread makes it.
    package func failForGood(code: Int32 = EIO) {
        failOperation(0, code: code)
        state.withLock { $0.failsForGood = true }
    }

    /// The process dies at the `count`th operation from now: that one and all later ones do nothing, until ``crash(_:fates:)``
    /// or ``kill()`` says what is left. Nil lets it live.
    package func stop(after count: Int?) {
        state.withLock { state in
            state.stopAt = count.map { state.operations + $0 }
            state.isStopped = false
        }
    }

    /// Whether the process has met the operation at which it dies.
    package var isStopped: Bool { state.withLock { $0.isStopped } }

    /// Whether a synchronization has failed in this life of the process.
    package var hasFailedToSynchronize: Bool { state.withLock { $0.hasFailedToSynchronize } }

    /// A mistake made on purpose: a synchronization that fails is tried again, until it succeeds.
    package func retrySynchronizations() { state.withLock { $0.retriesSynchronization = true } }

    /// A mistake made on purpose: synchronizations of files and directories at these paths do nothing, and say that they did.
    package func forgetSynchronizations(of isForgotten: @escaping @Sendable (_ path: String) -> Bool) {
        state.withLock { $0.forgetsToSynchronize = isForgotten }
    }

    /// How many bytes files may still grow.
    package func setFreeBytes(_ bytes: Int) { state.withLock { $0.freeBytes = bytes } }

    /// The machine loses power. Locks are free afterwards, open files are dead.
    package func crash(_ choose: Choose, fates: [SectorFate] = [.lost, .kept]) {
        state.withLock { state in
            var names = state.durable
            // One cut through the order of the changes of each directory: nothing orders those of two.
            for directory in Set(state.pending.map(\.directory)).sorted() {
                let changes = state.pending.filter { $0.directory == directory }
                for change in changes.prefix(choose(changes.count + 1)) { Self.apply(change, to: &names) }
            }
            // A directory whose name is lost takes everything below with it.
            for directory in state.directories.subtracting(state.durableDirectories).sorted() where choose(2) == 0 {
                let isLost = { (path: String) in path == directory || path.hasPrefix(directory + "/") }
                names = names.filter { !isLost($0.key) }
                state.directories = state.directories.filter { !isLost($0) }
            }
            state.durableDirectories = state.directories
            state.visible = names
            state.durable = names
            state.pending = []
            state.locks = []
            state.beginLife()
            for path in names.keys.sorted() {
                names[path]?.content.withLock { Self.crash(&$0, choose, fates) }
            }
        }
    }

    /// The process is killed: locks are free, open files are dead, everything written stays.
    package func kill() {
        state.withLock { state in
            state.locks = []
            state.beginLife()
        }
    }

    /// A copy with the same content, durable and not; for trying several faults on one state.
    package func copy() -> SimulatedFileSystem {
        let other = SimulatedFileSystem()
        let (visible, durable) = state.withLock { ($0.visible, $0.durable) }
        let (directories, durableDirectories) = state.withLock { ($0.directories, $0.durableDirectories) }
        let pending = state.withLock { $0.pending }
        var nodes: [ObjectIdentifier: Node] = [:]
        func duplicate(_ node: Node) -> Node {
            if let known = nodes[ObjectIdentifier(node)] { return known }
            let new = Node()
            let content = node.content.withLock { $0 }
            new.content.withLock { $0 = content }
            nodes[ObjectIdentifier(node)] = new
            return new
        }
        let copies = (visible.mapValues(duplicate), durable.mapValues(duplicate))
        let changes = pending.map { change in
            if case .set(let path, let node) = change { NameChange.set(path, duplicate(node)) } else { change }
        }
        other.state.withLock { state in
            state.visible = copies.0
            state.durable = copies.1
            state.pending = changes
            state.directories = directories
            state.durableDirectories = durableDirectories
        }
        return other
    }

    /// Every file, sorted.
    package var paths: [String] { state.withLock { $0.visible.keys.sorted() } }

    /// A file's bytes as the process sees them.
    package func contents(_ path: String) -> [UInt8]? {
        state.withLock { $0.visible[path] }?.content.withLock { $0.visible }
    }

    /// Changes a file's bytes behind everybody's back, durably: bit rot.
    package func alter(_ path: String, _ body: (inout [UInt8]) -> Void) {
        guard let node = state.withLock({ $0.visible[path] }) else { return }
        node.content.withLock { content in
            body(&content.visible)
            content.durable = content.visible
            content.dirtySectors = []
            content.abandonedSectors = []
        }
    }

    /// Bits of a file flip on the disk, wherever it has been synchronized. What is dirty goes over it later.
    package func decay(_ path: String, at offset: Int, by masks: [UInt8]) {
        guard let node = state.withLock({ $0.visible[path] }) else { return }
        node.content.withLock { content in
            for (place, mask) in masks.enumerated() {
                let place = offset + place
                let sector = place / Self.sectorBytes
                guard place < content.visible.count, place < content.durable.count,
                    !content.dirtySectors.contains(sector), !content.abandonedSectors.contains(sector)
                else { continue }
                content.visible[place] ^= mask
                content.durable[place] ^= mask
                content.decays.append((place, content.durable[place]))
            }
        }
    }

    /// The files, by any name that a crash may bring back too, in which flipped bits stand, sorted.
    package var decayedPaths: [String] {
        let (visible, durable) = state.withLock { ($0.visible, $0.durable) }
        var found: Set<String> = []
        for (path, node) in Array(visible) + Array(durable) where node.content.withLock({ $0.isDecayed }) {
            found.insert(path)
        }
        return found.sorted()
    }

    private static func crash(_ content: inout Node.Content, _ choose: Choose, _ fates: [SectorFate]) {
        let size = choose(2) == 0 ? content.durable.count : content.visible.count
        var bytes = content.durable
        resize(&bytes, to: size)
        for sector in content.dirtySectors.union(content.abandonedSectors).sorted() {
            let end = min((sector + 1) * sectorBytes, size, content.visible.count)
            guard sector * sectorBytes < end else { continue }
            let range = sector * sectorBytes..<end
            switch fates[choose(fates.count)] {
            case .lost: break
            case .kept: bytes.replaceSubrange(range, with: content.visible[range])
            case .garbage: for offset in range { bytes[offset] = UInt8(truncatingIfNeeded: choose(256)) }
            }
        }
        content = Node.Content(visible: bytes, durable: bytes, decays: content.decays)
    }

    fileprivate static func resize(_ bytes: inout [UInt8], to size: Int) {
        if bytes.count < size {
            bytes.append(contentsOf: repeatElement(0, count: size - bytes.count))
        } else if bytes.count > size {
            bytes.removeLast(bytes.count - size)
        }
    }

    /// Where the bytes of a sector stand.
    fileprivate static func bytes(of sector: Int, in content: [UInt8]) -> Range<Int> {
        let start = min(sector * sectorBytes, content.count)
        return start..<min(start + sectorBytes, content.count)
    }

    private static func directory(of path: String) -> Substring {
        path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
    }

    private static func apply(_ change: NameChange, to names: inout [String: Node]) {
        switch change {
        case .set(let path, let node): names[path] = node
        case .rename(let source, let destination): names[destination] = names.removeValue(forKey: source)
        case .remove(let path): names[path] = nil
        }
    }

    // MARK: FileSystem

    fileprivate func count(_ operation: FileError.Operation, _ path: String, life: Int? = nil) throws(FileError) {
        let code: Int32? = state.withLock { state in
            if let life, life != state.life { return EBADF }
            if let stopAt = state.stopAt, state.operations >= stopAt {
                state.isStopped = true
                return EBADF
            }
            defer { state.operations += 1 }
            guard let failAt = state.failAt else { return nil }
            let fails = state.failsForGood ? state.operations >= failAt : state.operations == failAt
            guard fails else { return nil }
            if FileError(operation, path, code: state.failureCode).isFailedSync, !state.retriesSynchronization {
                state.hasFailedToSynchronize = true
            }
            return state.failureCode
        }
        if let code { throw FileError(operation, path, code: code) }
    }

    fileprivate var retriesSynchronization: Bool { state.withLock { $0.retriesSynchronization } }

    fileprivate func forgetsToSynchronize(_ path: String) -> Bool {
        state.withLock { $0.forgetsToSynchronize }?(path) ?? false
    }

    /// Takes from the free space.
    fileprivate func grow(_ bytes: Int, _ operation: FileError.Operation, _ path: String) throws(FileError) {
        let fits = state.withLock { state in
            guard bytes <= state.freeBytes else { return false }
            if state.freeBytes != .max { state.freeBytes -= bytes }
            return true
        }
        guard fits else { throw FileError(operation, path, code: ENOSPC) }
    }

    private func change(_ change: NameChange) {
        state.withLock { state in
            Self.apply(change, to: &state.visible)
            state.pending.append(change)
        }
    }

    package func createDirectory(_ path: String) throws(FileError) -> Bool {
        try count(.createDirectory, path)
        return state.withLock { $0.directories.insert(path).inserted }
    }

    package func list(_ path: String) throws(FileError) -> [String] {
        try count(.list, path)
        let prefix = path + "/"
        return state.withLock { state in
            state.visible.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
                .filter { !$0.contains("/") }.sorted()
        }
    }

    package func exists(_ path: String) throws(FileError) -> Bool {
        try count(.open, path)
        return state.withLock { $0.visible[path] != nil }
    }

    package func open(_ path: String) throws(FileError) -> any File {
        try count(.open, path)
        guard let (node, life) = state.withLock({ state in state.visible[path].map { ($0, state.life) } }) else {
            throw FileError(.open, path, code: ENOENT)
        }
        return SimulatedFile(path: path, node: node, life: life, fileSystem: self)
    }

    package func create(_ path: String) throws(FileError) -> any File {
        try count(.create, path)
        let node = Node()
        change(.set(path, node))
        return SimulatedFile(path: path, node: node, life: state.withLock { $0.life }, fileSystem: self)
    }

    package func rename(_ source: String, to destination: String) throws(FileError) {
        try count(.rename, source)
        guard try exists(source) else { throw FileError(.rename, source, code: ENOENT) }
        change(.rename(source, destination))
    }

    package func remove(_ path: String) throws(FileError) {
        try count(.remove, path)
        guard try exists(path) else { throw FileError(.remove, path, code: ENOENT) }
        change(.remove(path))
    }

    package func synchronizeDirectory(_ path: String) throws(FileError) {
        try count(.synchronizeDirectory, path)
        guard !forgetsToSynchronize(path) else { return }
        state.withLock { state in
            for change in state.pending where change.directory == path { Self.apply(change, to: &state.durable) }
            state.pending.removeAll { $0.directory == path }
            let prefix = path == "/" ? path : path + "/"
            for directory in state.directories where directory.hasPrefix(prefix) {
                if !directory.dropFirst(prefix.count).contains("/") { state.durableDirectories.insert(directory) }
            }
        }
    }

    package func lock(_ path: String) throws(FileError) -> (any FileLock)? {
        try count(.lock, path)
        let isTaken = state.withLock { !$0.locks.insert(path).inserted }
        return isTaken ? nil : SimulatedLock(path: path, fileSystem: self)
    }

    fileprivate func unlock(_ path: String) { state.withLock { _ = $0.locks.remove(path) } }
}

private final class SimulatedLock: FileLock {
    private let path: String
    private let fileSystem: SimulatedFileSystem

    init(path: String, fileSystem: SimulatedFileSystem) {
        self.path = path
        self.fileSystem = fileSystem
    }

    func release() { fileSystem.unlock(path) }
}

private final class SimulatedFile: File {
    let path: String
    private let node: SimulatedFileSystem.Node
    private let life: Int
    private let fileSystem: SimulatedFileSystem

    init(path: String, node: SimulatedFileSystem.Node, life: Int, fileSystem: SimulatedFileSystem) {
        self.path = path
        self.node = node
        self.life = life
        self.fileSystem = fileSystem
    }

    func sizeBytes() throws(FileError) -> UInt64 {
        try fileSystem.count(.size, path, life: life)
        return UInt64(node.content.withLock { $0.visible.count })
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int {
        try fileSystem.count(.read, path, life: life)
        return node.content.withLock { content in
            let start = min(Int(clamping: offset), content.visible.count)
            let end = min(start + buffer.count, content.visible.count)
            buffer.copyBytes(from: content.visible[start..<end])
            return end - start
        }
    }

    /// A failed write has reached the file in part.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        do throws(FileError) { try fileSystem.count(.write, path, life: life) } catch {
            if error.code != EBADF {
                store(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]), at: Int(offset))
            }
            throw error
        }
        let growth = max(0, Int(offset) + bytes.count - node.content.withLock { $0.visible.count })
        try fileSystem.grow(growth, .write, path)
        store(bytes, at: Int(offset))
    }

    func writeDurably(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        let sector = SimulatedFileSystem.sectorBytes
        let sectors = Set(Int(offset) / sector..<(Int(offset) + bytes.count + sector - 1) / sector)
        do throws(FileError) { try write(bytes, at: offset) } catch {
            abandon(sectors, after: error)
            throw error
        }
        try synchronize(sectors)
    }

    func synchronize() throws(FileError) { try synchronize(nil) }

    /// - Parameter sectors: nil is all.
    private func synchronize(_ sectors: Set<Int>?) throws(FileError) {
        do throws(FileError) { try fileSystem.count(.synchronize, path, life: life) } catch {
            abandon(sectors, after: error)
            if error.code == EIO, fileSystem.retriesSynchronization { return }
            throw error
        }
        guard sectors != nil || !fileSystem.forgetsToSynchronize(path) else { return }
        node.content.withLock { content in
            SimulatedFileSystem.resize(&content.durable, to: content.visible.count)
            for number in sectors.map(content.dirtySectors.intersection) ?? content.dirtySectors {
                let range = SimulatedFileSystem.bytes(of: number, in: content.visible)
                content.durable.replaceSubrange(range, with: content.visible[range])
                content.dirtySectors.remove(number)
            }
        }
    }

    /// The kernel takes what it could not write for clean. A process that is dead finds out nothing.
    private func abandon(_ sectors: Set<Int>?, after error: FileError) {
        guard error.code != EBADF else { return }
        node.content.withLock { content in
            content.abandon(sectors.map(content.dirtySectors.intersection) ?? content.dirtySectors)
        }
    }

    func reserve(_ sizeBytes: UInt64) throws(FileError) {
        try fileSystem.count(.reserve, path, life: life)
        let growth = max(0, Int(sizeBytes) - node.content.withLock { $0.visible.count })
        try fileSystem.grow(growth, .reserve, path)
        node.content.withLock { SimulatedFileSystem.resize(&$0.visible, to: max(Int(sizeBytes), $0.visible.count)) }
    }

    /// What is clean is read from the disk from here on.
    func dropCached() {
        node.content.withLock { content in
            for number in content.abandonedSectors {
                let range = SimulatedFileSystem.bytes(of: number, in: content.visible)
                var stored = Array(content.durable[min(range.lowerBound, content.durable.count)...].prefix(range.count))
                SimulatedFileSystem.resize(&stored, to: range.count)
                content.visible.replaceSubrange(range, with: stored)
            }
            content.abandonedSectors = []
        }
    }

    func close() {}

    private func store(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        guard !bytes.isEmpty else { return }
        let sector = SimulatedFileSystem.sectorBytes
        node.content.withLock { content in
            let end = offset + bytes.count
            if content.visible.count < end { SimulatedFileSystem.resize(&content.visible, to: end) }
            content.visible.withUnsafeMutableBytes { visible in
                UnsafeMutableRawBufferPointer(rebasing: visible[offset..<end]).copyMemory(from: bytes)
            }
            for number in offset / sector..<(end + sector - 1) / sector {
                content.dirtySectors.insert(number)
                content.abandonedSectors.remove(number)
            }
        }
    }
}
