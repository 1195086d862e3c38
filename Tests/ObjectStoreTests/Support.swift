import EsperTypes
import Foundation
import Glibc
import TestSupport

/// The clock of deadlines.
@Sendable func currentInstant() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
}

extension Instant {
    /// A deadline that only a broken program reaches.
    static var soon: Instant { currentInstant() + .seconds(20) }
}

func temporaryDirectory() throws -> String {
    let path = NSTemporaryDirectory() + "esper-store-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}

/// A file system in memory of few bytes.
struct SmallDisk {
    let path: String

    /// Whether this process may mount, tried once.
    static let isPossible: Bool = {
        guard let disk = try? SmallDisk(bytes: 1 << 16) else { return false }
        disk.remove()
        return true
    }()

    init(bytes: Int) throws {
        path = try temporaryDirectory()
        guard mount("tmpfs", path, "tmpfs", 0, "size=\(bytes)") == 0 else {
            rmdir(path)
            throw POSIXError(.EPERM)
        }
    }

    func remove() {
        umount2(path, Int32(MNT_DETACH))
        rmdir(path)
    }
}
