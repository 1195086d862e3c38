import Foundation
import Glibc

/// A file system of 16 MiB for the data directory of each member of a cluster.
public struct SmallDisks {
    public let directories: [String]

    /// Whether this process may mount, tried once.
    public static let arePossible: Bool = {
        let directory = NSTemporaryDirectory() + "esper-disk-\(UInt64.random(in: 0 ... .max))"
        guard let disk = try? SmallDisks([directory]) else { return false }
        disk.unmount()
        rmdir(directory)
        return true
    }()

    public init(for cluster: LocalCluster) throws {
        try self.init(cluster.members.map { cluster.dataDirectory(of: $0.name) })
    }

    private init(_ directories: [String]) throws {
        self.directories = directories
        for (position, directory) in directories.enumerated() {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            guard mount("tmpfs", directory, "tmpfs", 0, "size=16m") == 0 else {
                let code = POSIXErrorCode(rawValue: errno) ?? .EPERM
                Self.unmount(directories.prefix(position))
                throw POSIXError(code)
            }
        }
    }

    public func unmount() { Self.unmount(directories[...]) }

    private static func unmount(_ directories: ArraySlice<String>) {
        for directory in directories { umount2(directory, Int32(MNT_DETACH)) }
    }
}
