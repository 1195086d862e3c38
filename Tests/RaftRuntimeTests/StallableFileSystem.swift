import Glibc
import RaftStorage
import Synchronization

/// The real file system, on a device that can be made to hang, so that what is to be durable waits until it works again, or to
/// be full.
final class StallableFileSystem: FileSystem {
    private let base = POSIXFileSystem()
    fileprivate let isStalled = Monitor(false)
    fileprivate let logWrites = Atomic<Int>(0)
    private let full = Atomic<Bool>(false)

    /// Durable writes to segments of the log so far, one that hangs included.
    var durableLogWrites: Int { logWrites.load(ordering: .relaxed) }

    func stall() { isStalled.withLock { $0 = true } }

    func resume() {
        isStalled.withLock { $0 = false }
        isStalled.notify()
    }

    /// Whether there is no room for another file.
    var isFull: Bool {
        get { full.load(ordering: .relaxed) }
        set { full.store(newValue, ordering: .relaxed) }
    }

    func createDirectory(_ path: String) throws(FileError) -> Bool { try base.createDirectory(path) }
    func list(_ path: String) throws(FileError) -> [String] { try base.list(path) }
    func exists(_ path: String) throws(FileError) -> Bool { try base.exists(path) }
    func open(_ path: String) throws(FileError) -> any File { StallableFile(base: try base.open(path), disk: self) }
    func create(_ path: String) throws(FileError) -> any File { StallableFile(base: try base.create(path), disk: self) }
    func rename(_ source: String, to destination: String) throws(FileError) {
        try base.rename(source, to: destination)
    }
    func remove(_ path: String) throws(FileError) { try base.remove(path) }
    func synchronizeDirectory(_ path: String) throws(FileError) { try base.synchronizeDirectory(path) }
    func lock(_ path: String) throws(FileError) -> (any FileLock)? { try base.lock(path) }
}

private final class StallableFile: File {
    private let base: any File
    private let disk: StallableFileSystem

    init(base: any File, disk: StallableFileSystem) {
        self.base = base
        self.disk = disk
    }

    private func wait() { _ = disk.isStalled.wait { $0 ? nil : true } }

    var path: String { base.path }
    func sizeBytes() throws(FileError) -> UInt64 { try base.sizeBytes() }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int {
        try base.read(into: buffer, at: offset)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        try base.write(bytes, at: offset)
    }
    func writeDurably(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        if path.hasSuffix(".segment") { disk.logWrites.add(1, ordering: .relaxed) }
        wait()
        try base.writeDurably(bytes, at: offset)
    }
    func synchronize() throws(FileError) {
        wait()
        try base.synchronize()
    }
    func reserve(_ sizeBytes: UInt64) throws(FileError) {
        if disk.isFull { throw FileError(.reserve, path, code: ENOSPC) }
        try base.reserve(sizeBytes)
    }
    func dropCached() { base.dropCached() }
    func close() { base.close() }
}
