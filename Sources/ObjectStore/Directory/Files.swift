internal import Glibc

/// A file descriptor that is closed with its last reference.
final class Descriptor: Sendable {
    let number: Int32

    init(_ number: Int32) { self.number = number }

    deinit { _ = Glibc.close(number) }
}

/// File calls with typed failures. None of them follows a symbolic link in its last component.
enum Files {
    static func failure(_ what: String, _ code: Int32) -> ObjectStoreError {
        let reason = String(cString: strerror(code))
        return switch code {
        case ENOSPC, EDQUOT: ObjectStoreError(.full, "\(what): \(reason)")
        case EACCES, EPERM, EROFS: ObjectStoreError(.refused, "\(what): \(reason)")
        case ELOOP, ENOTDIR, EISDIR: ObjectStoreError(.invalid, "\(what): something else is in its place: \(reason)")
        case ENOENT: ObjectStoreError(.missing, "\(what): \(reason)")
        default: ObjectStoreError(.unavailable, "\(what): \(reason)")
        }
    }

    /// Makes the directory and those above it.
    static func makeRoot(_ path: String) throws(ObjectStoreError) {
        var made = path.hasPrefix("/") ? "" : "."
        for component in path.split(separator: "/") {
            made += "/" + component
            guard mkdir(made, 0o750) == 0 else {
                let code = errno
                if code == EEXIST { continue }
                throw failure("cannot make \(made)", code)
            }
        }
    }

    static func openDirectory(_ path: String) throws(ObjectStoreError) -> Descriptor {
        let number = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw failure("cannot open \(path)", errno) }
        return Descriptor(number)
    }

    static func openDirectoryIfThere(_ name: String, in parent: Descriptor) throws(ObjectStoreError) -> Descriptor? {
        let number = openat(parent.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard number >= 0 else {
            let code = errno
            if code == ENOENT { return nil }
            throw failure("cannot open \(name)", code)
        }
        return Descriptor(number)
    }

    static func openDirectory(_ name: String, in parent: Descriptor) throws(ObjectStoreError) -> Descriptor {
        guard let directory = try openDirectoryIfThere(name, in: parent) else {
            throw failure("cannot open \(name)", ENOENT)
        }
        return directory
    }

    /// Makes the directory unless it is there.
    static func makeDirectory(_ name: String, in parent: Descriptor) throws(ObjectStoreError) {
        guard mkdirat(parent.number, name, 0o750) == 0 else {
            let code = errno
            if code == EEXIST { return }
            throw failure("cannot make \(name)", code)
        }
    }

    /// Nil when there is no such file.
    static func openFile(_ name: String, in parent: Descriptor) throws(ObjectStoreError) -> Descriptor? {
        let number = openat(parent.number, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        guard number >= 0 else {
            let code = errno
            if code == ENOENT { return nil }
            throw failure("cannot open \(name)", code)
        }
        return Descriptor(number)
    }

    static func size(_ file: Descriptor, _ name: String) throws(ObjectStoreError) -> UInt64 {
        var facts = stat()
        guard fstat(file.number, &facts) == 0 else { throw failure("cannot examine \(name)", errno) }
        guard facts.st_mode & S_IFMT == S_IFREG else { throw ObjectStoreError(.invalid, "\(name) is no file") }
        return UInt64(facts.st_size)
    }

    static func read(_ file: Descriptor, range: Range<UInt64>?, _ name: String) throws(ObjectStoreError) -> [UInt8] {
        let size = try size(file, name)
        let range = range.map { min($0.lowerBound, size)..<min($0.upperBound, size) } ?? 0..<size
        var code: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            while count < range.count {
                let done = pread(
                    file.number, buffer.baseAddress! + count, range.count - count,
                    off_t(range.lowerBound) + off_t(count))
                if done > 0 {
                    count += done
                } else if done < 0, errno == EINTR {
                    continue
                } else {
                    code = done < 0 ? errno : EIO
                    return
                }
            }
        }
        guard code == 0 else { throw failure("cannot read \(name)", code) }
        return bytes
    }

    static func write(_ bytes: [UInt8], to file: Descriptor, _ name: String) throws(ObjectStoreError) {
        let code = bytes.withUnsafeBytes { buffer -> Int32 in
            var written = 0
            while written < buffer.count {
                let done = Glibc.write(file.number, buffer.baseAddress! + written, buffer.count - written)
                if done > 0 {
                    written += done
                } else if errno != EINTR {
                    return errno
                }
            }
            return 0
        }
        guard code == 0 else { throw failure("cannot write \(name)", code) }
    }

    static func sync(_ file: Descriptor, _ name: String) throws(ObjectStoreError) {
        guard fsync(file.number) == 0 else { throw failure("cannot sync \(name)", errno) }
    }

    /// Does it while nobody else, in any process, does such a thing with the directory.
    static func locked(
        _ directory: Descriptor, _ name: String, _ body: () throws(ObjectStoreError) -> Void
    ) throws(ObjectStoreError) {
        while flock(directory.number, LOCK_EX) != 0 {
            let code = errno
            if code != EINTR { throw failure("cannot lock the directory of \(name)", code) }
        }
        defer { _ = flock(directory.number, LOCK_UN) }
        try body()
    }

    /// Names in the directory, without `.` and `..`, in no order.
    static func names(in directory: Descriptor) throws(ObjectStoreError) -> [String] {
        let number = openat(directory.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw failure("cannot list a directory", errno) }
        guard let stream = fdopendir(number) else {
            _ = Glibc.close(number)
            throw failure("cannot list a directory", errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}
