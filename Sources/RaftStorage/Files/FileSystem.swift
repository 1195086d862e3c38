#if canImport(Glibc)
    internal import Glibc
#endif

/// What the operating system refused, and where.
public struct FileError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Operation: String, Hashable, Sendable, CaseIterable {
        case open, create, read, write, synchronize, size, reserve, rename, remove, list, lock
        case createDirectory, synchronizeDirectory
    }

    public var operation: Operation
    public var path: String
    public var offset: UInt64?
    /// The `errno` value.
    public var code: Int32

    public init(_ operation: Operation, _ path: String, offset: UInt64? = nil, code: Int32) {
        self.operation = operation
        self.path = path
        self.offset = offset
        self.code = code
    }

    public var isOutOfSpace: Bool { code == ENOSPC || code == EDQUOT }

    public var isNotFound: Bool { code == ENOENT }

    /// What a later sync says is true of nothing that was written before this one.
    public var isFailedSync: Bool {
        (operation == .synchronize || operation == .synchronizeDirectory) && !isOutOfSpace
    }

    /// Refused for what the file is, or for who we are; trying again is no use.
    var isNotPossible: Bool { code == EACCES || code == EPERM || code == EINVAL || code == EROFS }

    public var description: String { "\(operation.rawValue) failed: \(String(cString: strerror(code)))" }
}

/// The only way this target touches files. Two implementations: ``POSIXFileSystem`` and ``SimulatedFileSystem``.
///
/// Durability is the weakest that a kernel may give: written bytes are durable only after ``File/synchronize()`` (or
/// ``File/writeDurably(_:at:)``, and then only those bytes); a created, renamed or removed name only after
/// ``synchronizeDirectory(_:)``. Names changed in one directory become durable in the order of the changes.
public protocol FileSystem: Sendable {
    /// Makes one directory inside another; durable, like every name, once the one above is synchronized.
    ///
    /// - Returns: false when it was there already.
    func createDirectory(_ path: String) throws(FileError) -> Bool
    /// The names in a directory, sorted.
    func list(_ path: String) throws(FileError) -> [String]
    func exists(_ path: String) throws(FileError) -> Bool
    /// Opens an existing file for reading and writing.
    func open(_ path: String) throws(FileError) -> any File
    /// Creates an empty file, or empties the one that is there.
    func create(_ path: String) throws(FileError) -> any File
    /// Replaces what stood at `destination`.
    func rename(_ source: String, to destination: String) throws(FileError)
    func remove(_ path: String) throws(FileError)
    func synchronizeDirectory(_ path: String) throws(FileError)
    /// Takes the exclusive lock that the file stands for, creating the file if needed; it ends with the returned object or the process.
    ///
    /// - Returns: nil when someone else holds it.
    func lock(_ path: String) throws(FileError) -> (any FileLock)?
}

extension FileSystem {
    /// Makes a directory and those above it, all of them durable when it returns.
    ///
    /// A directory that was there already is made durable too where we may: an attempt that was interrupted may have left it.
    /// Where we may not (no right to read, no synchronization on its file system), somebody else made it long ago.
    func createDirectories(_ path: String) throws(FileError) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        var parent = prefix.isEmpty ? "." : "/"
        for component in path.split(separator: "/") {
            prefix += component
            let isNew = try createDirectory(prefix)
            do throws(FileError) {
                try synchronizeDirectory(parent)
            } catch {
                guard !isNew, error.isNotPossible else { throw error }
            }
            parent = prefix
            prefix += "/"
        }
    }
}

/// An open file. Offsets are explicit, so calls from several threads do not disturb each other.
public protocol File: AnyObject, Sendable {
    var path: String { get }
    func sizeBytes() throws(FileError) -> UInt64
    /// Fills the buffer unless the file ends before.
    ///
    /// - Returns: how many bytes were read.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int
    /// Writes all bytes; they are not durable yet.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError)
    /// Writes all bytes and returns when they, and what is needed to read them, are durable. Says nothing about others.
    func writeDurably(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError)
    /// Returns when all bytes written before are durable.
    func synchronize() throws(FileError)
    /// Gives the file this size and reserves the space for it.
    func reserve(_ sizeBytes: UInt64) throws(FileError)
    /// Lets the next reads come from the device, as far as the operating system can be asked to.
    func dropCached()
    func close()
}

/// A lock that is held as long as the object lives.
public protocol FileLock: AnyObject, Sendable {
    func release()
}
