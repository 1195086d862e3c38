internal import Glibc
internal import Synchronization

/// Where one process writes what is not complete yet: a directory that it locks, so that others can tell whether it lives.
final class PartialFiles: Sendable {
    struct File: Sendable {
        var name: String
        var descriptor: Descriptor
    }

    /// Of this process.
    let directory: Descriptor
    private let parent: Descriptor
    private let name: String
    private let files = Atomic<UInt64>(0)

    /// - Parameter parent: holds the directories of all writers; those whose process ended are removed.
    init(in parent: Descriptor) throws(ObjectStoreError) {
        self.parent = parent
        for name in try Files.names(in: parent) { Self.removeIfAbandoned(name, in: parent) }
        var name = ""
        var directory: Descriptor?
        while directory == nil {
            name = "\(getpid())-\(Self.randomNumber())"
            guard mkdirat(parent.number, name, 0o750) == 0 else {
                let code = errno
                if code == EEXIST { continue }
                throw Files.failure("cannot make a directory for writing", code)
            }
            // Somebody who opens a store may take it for abandoned until it is locked.
            guard let made = try Files.openDirectoryIfThere(name, in: parent) else { continue }
            guard flock(made.number, LOCK_EX | LOCK_NB) == 0 else { continue }
            var facts = stat()
            if fstatat(parent.number, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 { directory = made }
        }
        guard let directory else { preconditionFailure("the loop ends with a directory") }
        self.directory = directory
        self.name = name
    }

    func create() throws(ObjectStoreError) -> File {
        let name = "\(files.wrappingAdd(1, ordering: .relaxed).newValue)"
        let number = openat(directory.number, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o640)
        guard number >= 0 else { throw Files.failure("cannot create a file", errno) }
        return File(name: name, descriptor: Descriptor(number))
    }

    /// What cannot be removed now is removed when the next store is opened.
    func remove(_ file: File) { _ = unlinkat(directory.number, file.name, 0) }

    func close() { _ = unlinkat(parent.number, name, Int32(AT_REMOVEDIR)) }

    private static func removeIfAbandoned(_ name: String, in parent: Descriptor) {
        guard let directory = try? Files.openDirectoryIfThere(name, in: parent),
            flock(directory.number, LOCK_EX | LOCK_NB) == 0
        else { return }
        // A failure leaves rubbish behind, which takes room and nothing else.
        for file in (try? Files.names(in: directory)) ?? [] { _ = unlinkat(directory.number, file, 0) }
        _ = unlinkat(parent.number, name, Int32(AT_REMOVEDIR))
    }

    /// From the kernel: names must differ between processes, whatever they know of each other.
    private static func randomNumber() -> UInt64 {
        var kernel = SystemRandomNumberGenerator()
        return kernel.next()
    }
}
