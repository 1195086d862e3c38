import Foundation
import Glibc

/// A file system of 16 MiB for the data directory of each member of a cluster.
public struct SmallDisks {
    public let directories: [String]

    /// - Returns: nil, which is said, without the right to mount.
    public init?(for cluster: LocalCluster) throws {
        directories = cluster.members.map { cluster.dataDirectory(of: $0.name) }
        for (position, directory) in directories.enumerated() {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            guard mount("tmpfs", directory, "tmpfs", 0, "size=16m") == 0 else {
                print("skipped: mounting needs the rights of root (\(String(cString: strerror(errno))))")
                Self.unmount(directories.prefix(position))
                return nil
            }
        }
    }

    public func unmount() { Self.unmount(directories[...]) }

    private static func unmount(_ directories: ArraySlice<String>) {
        for directory in directories { umount2(directory, Int32(MNT_DETACH)) }
    }
}
