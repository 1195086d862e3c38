internal import Glibc
internal import Synchronization

/// Files of the operating system.
public struct POSIXFileSystem: FileSystem {
    public init() {}

    public func createDirectory(_ path: String) throws(FileError) -> Bool {
        if mkdir(path, 0o700) == 0 { return true }
        let code = errno
        // Something that is no directory is found out by whoever uses it as one.
        if code == EEXIST { return false }
        // A read-only file system may say so before it looks whether the directory is there.
        if code == EROFS || code == EACCES, access(path, F_OK) == 0 { return false }
        throw FileError(.createDirectory, path, code: code)
    }

    public func list(_ path: String) throws(FileError) -> [String] {
        guard let directory = opendir(path) else { throw FileError(.list, path, code: errno) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    public func exists(_ path: String) throws(FileError) -> Bool {
        if access(path, F_OK) == 0 { return true }
        if errno == ENOENT || errno == ENOTDIR { return false }
        throw FileError(.open, path, code: errno)
    }

    public func open(_ path: String) throws(FileError) -> any File {
        try Self.file(path, O_RDWR, .open)
    }

    public func create(_ path: String) throws(FileError) -> any File {
        try Self.file(path, O_RDWR | O_CREAT | O_TRUNC, .create)
    }

    public func rename(_ source: String, to destination: String) throws(FileError) {
        guard Glibc.rename(source, destination) == 0 else { throw FileError(.rename, source, code: errno) }
    }

    public func remove(_ path: String) throws(FileError) {
        guard unlink(path) == 0 else { throw FileError(.remove, path, code: errno) }
    }

    public func synchronizeDirectory(_ path: String) throws(FileError) {
        let descriptor = try Self.openDescriptor(path, O_RDONLY | O_DIRECTORY, .synchronizeDirectory)
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw FileError(.synchronizeDirectory, path, code: errno) }
    }

    public func lock(_ path: String) throws(FileError) -> (any FileLock)? {
        let descriptor = try Self.openDescriptor(path, O_RDWR | O_CREAT, .lock)
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
            return POSIXFileLock(file: POSIXFile(path: path, descriptor: descriptor, synchronous: -1))
        }
        let code = errno
        Glibc.close(descriptor)
        if code == EWOULDBLOCK { return nil }
        throw FileError(.lock, path, code: code)
    }

    private static func file(
        _ path: String, _ flags: Int32, _ operation: FileError.Operation
    ) throws(FileError) -> POSIXFile {
        let descriptor = try openDescriptor(path, flags, operation)
        do throws(FileError) {
            let synchronous = try openDescriptor(path, O_WRONLY | O_DSYNC, operation)
            return POSIXFile(path: path, descriptor: descriptor, synchronous: synchronous)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    private static func openDescriptor(
        _ path: String, _ flags: Int32, _ operation: FileError.Operation
    ) throws(FileError) -> Int32 {
        while true {
            let descriptor = Glibc.open(path, flags | O_CLOEXEC, 0o600)
            if descriptor >= 0 { return descriptor }
            if errno != EINTR { throw FileError(operation, path, code: errno) }
        }
    }
}

/// A file descriptor and a second one whose writes are durable when they return (`O_DSYNC`: one call instead of two).
final class POSIXFile: File {
    let path: String
    /// -1 once closed.
    private let descriptor: Atomic<Int32>
    private let synchronous: Atomic<Int32>

    init(path: String, descriptor: Int32, synchronous: Int32) {
        self.path = path
        self.descriptor = Atomic(descriptor)
        self.synchronous = Atomic(synchronous)
    }

    deinit { close() }

    private var handle: Int32 { descriptor.load(ordering: .relaxed) }

    func close() {
        for number in [
            descriptor.exchange(-1, ordering: .sequentiallyConsistent),
            synchronous.exchange(-1, ordering: .sequentiallyConsistent),
        ] where number >= 0 {
            Glibc.close(number)
        }
    }

    func sizeBytes() throws(FileError) -> UInt64 {
        var status = stat()
        guard fstat(handle, &status) == 0 else { throw FileError(.size, path, code: errno) }
        return UInt64(status.st_size)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = pread(handle, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + done)
            if count == 0 { break }
            if count > 0 {
                done += count
            } else if errno != EINTR {
                throw FileError(.read, path, offset: offset + UInt64(done), code: errno)
            }
        }
        return done
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        try write(bytes, at: offset, to: handle)
    }

    func writeDurably(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        try write(bytes, at: offset, to: synchronous.load(ordering: .relaxed))
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, to handle: Int32) throws(FileError) {
        var done = 0
        while done < bytes.count {
            let count = pwrite(handle, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
            if count > 0 {
                done += count
            } else if count == 0 {
                throw FileError(.write, path, offset: offset + UInt64(done), code: EIO)
            } else if errno != EINTR {
                throw FileError(.write, path, offset: offset + UInt64(done), code: errno)
            }
        }
    }

    func synchronize() throws(FileError) {
        guard fdatasync(handle) == 0 else { throw FileError(.synchronize, path, code: errno) }
    }

    /// Best effort: what is dirty stays.
    func dropCached() { _ = posix_fadvise(handle, 0, 0, POSIX_FADV_DONTNEED) }

    func reserve(_ sizeBytes: UInt64) throws(FileError) {
        let code = posix_fallocate(handle, 0, off_t(sizeBytes))
        guard code == 0 else { throw FileError(.reserve, path, code: code) }
    }
}

/// An `flock`; the kernel drops it with the last descriptor, so a killed process never leaves one behind.
final class POSIXFileLock: FileLock {
    private let file: POSIXFile

    init(file: POSIXFile) { self.file = file }

    func release() { file.close() }
}
