import EsperTypes
import Glibc
import KernelCache
import TestSupport

/// In the place of a file, something whose opening waits in the kernel, as on a disk that hangs, until it is released.
struct HungFile {
    let path: String

    init(_ path: String) throws {
        self.path = path
        unlink(path)
        guard mkfifo(path, 0o600) == 0 else { throw WaitedInVain("cannot make \(path): \(errno)") }
    }

    /// Whoever waits finds an empty file.
    func release() {
        let file = open(path, O_WRONLY | O_NONBLOCK)
        if file >= 0 { close(file) }
    }
}

extension Blob {
    /// In a directory of blobs.
    func place(in path: String) -> String {
        let name = digest.description
        return "\(path)/\(name.prefix(2))/\(name.dropFirst(2)).\(bytes.count)"
    }
}
