import Glibc

/// Key and certificate files: readable by their owner alone, and never seen half written.
public enum PEMFile {
    /// No chain or bundle of ours comes near it; it keeps a mistyped path from filling memory.
    static let maximumBytes = 1 << 20

    /// Writes `text` with mode 0600 through a temporary file in the same directory, synced, then moved into place.
    ///
    /// After a crash the file holds the old text or the new, whole.
    ///
    /// - Parameter replacing: when false, an existing file is left alone and the call fails.
    /// - Throws: ``IdentityError`` with code `exists` or `file`.
    public static func write(_ text: String, to path: String, replacing: Bool) throws(IdentityError) {
        let temporary = "\(path).\(getpid()).tmp"
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure("create", temporary) }
        defer { unlink(temporary) }
        do throws(IdentityError) {
            try writeAll([UInt8](text.utf8), to: file, path: temporary)
            guard fsync(file) == 0 else { throw failure("sync", temporary) }
        } catch {
            close(file)
            throw error
        }
        close(file)
        if replacing {
            guard rename(temporary, path) == 0 else { throw failure("write", path) }
        } else {
            guard link(temporary, path) == 0 else {
                if errno == EEXIST { throw IdentityError(.exists, "\(path) exists already") }
                throw failure("write", path)
            }
        }
        try syncDirectory(of: path)
    }

    /// Where ``write(_:to:replacing:)`` would replace what `path` leads to: the file itself, behind links.
    ///
    /// - Throws: ``IdentityError`` with code `file` when it is not there or its directory may not be written to.
    public static func replaceable(_ path: String) throws(IdentityError) -> String {
        guard let resolved = realpath(path, nil) else { throw failure("find", path) }
        defer { free(resolved) }
        let place = String(cString: resolved)
        guard access(directory(of: place), W_OK) == 0 else { throw failure("replace", place) }
        return place
    }

    private static func directory(of path: String) -> String {
        path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    }

    /// - Throws: ``IdentityError`` with code `file` when it cannot be read whole, `malformed` when it is no text.
    public static func read(_ path: String) throws(IdentityError) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw failure("open", path) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            if count == 0 { break }
            bytes.append(contentsOf: chunk[..<count])
            guard bytes.count <= maximumBytes else {
                throw IdentityError(
                    .malformed, "\(path) is larger than \(maximumBytes) bytes, which no PEM file of ours is")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw IdentityError(.malformed, "\(path) is not a text file")
        }
        return text
    }

    /// As ``read(_:)``, for a key that signs for others: refused when it is not its owner's alone.
    ///
    /// - Throws: ``IdentityError``; code `file` also when others may read or write it.
    public static func readSecret(_ path: String) throws(IdentityError) -> String {
        var status = stat()
        guard stat(path, &status) == 0 else { throw failure("open", path) }
        guard status.st_mode & 0o077 == 0 else {
            throw IdentityError(.file, "\(path) may be read by others than its owner: chmod 600 it")
        }
        return try read(path)
    }

    private static func writeAll(_ bytes: [UInt8], to file: CInt, path: String) throws(IdentityError) {
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + offset, bytes.count - offset) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("write", path) }
            offset += count
        }
    }

    private static func syncDirectory(of path: String) throws(IdentityError) {
        let directory = directory(of: path)
        let file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw failure("open", directory) }
        defer { close(file) }
        guard fsync(file) == 0 else { throw failure("sync", directory) }
    }

    private static func failure(_ verb: String, _ path: String) -> IdentityError {
        IdentityError(.file, "cannot \(verb) \(path): \(String(cString: strerror(errno)))")
    }
}
