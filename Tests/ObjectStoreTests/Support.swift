import EsperTypes
import Foundation
import Glibc
import Logging
import NIOPosix
import ObjectStore
import TestSupport
import Testing

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

/// Nanoseconds since 1970.
@Sendable func wallNanoseconds() -> UInt64 { UInt64(Date().timeIntervalSince1970 * 1e9) }

extension S3Settings {
    /// Of the server's bucket, with the credentials that may do everything.
    static func test(_ server: PrivateSeaweedFS, prefix: String? = nil) throws -> S3Settings {
        var settings = S3Settings(
            endpoint: try #require(S3Endpoint(server.endpoint)), bucket: PrivateSeaweedFS.bucket,
            region: PrivateSeaweedFS.region,
            credentials: S3Credentials(
                accessKey: PrivateSeaweedFS.accessKey, secretKey: PrivateSeaweedFS.secretKey))
        settings.prefix = prefix.flatMap { ObjectKey($0) }
        settings.partBytes = 5 << 20
        settings.authorityFile = server.rootCertificatePath
        return settings
    }
}

extension S3Store {
    static func test(
        _ settings: S3Settings, wall: @escaping @Sendable () -> UInt64 = wallNanoseconds
    ) throws -> S3Store {
        try S3Store(
            settings, on: MultiThreadedEventLoopGroup.singleton, now: currentInstant, wall: wall,
            random: SystemRandomNumberGenerator(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
}
