import Foundation
import TestSupport

/// What a node reads of its control group (version 2), in the hands of a test: files of our own in place of the kernel's, in a mount
/// namespace of that node.
public struct PretendedGroup: Sendable {
    private let root: String
    private let directory: String

    /// - Returns: nil, which is said, without the right to mount, or where processes are in no such group.
    public init?(for cluster: LocalCluster) throws {
        let groups = try String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)
        guard let line = groups.split(separator: "\n").first(where: { $0.hasPrefix("0::") }) else {
            print("skipped: processes are in no control group of version 2")
            return nil
        }
        root = cluster.root + "/group"
        directory = root + line.dropFirst(3)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        do {
            try Child.run(launcher[0], launcher.dropFirst() + ["/bin/true"])
        } catch {
            print("skipped: a mount namespace needs the rights of root (\(error))")
            return nil
        }
    }

    /// For ``LocalCluster/start(_:initialize:launcher:)``.
    public var launcher: [String] {
        [
            "/usr/bin/unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
            #"mount --bind "$0" /sys/fs/cgroup && exec "$@""#, root,
        ]
    }

    /// - Parameter stalled: percent of the last ten seconds.
    public func tell(maximum: Int, current: Int, stalled: Double = 0) throws {
        let texts = [
            "memory.max": "\(maximum)\n", "memory.current": "\(current)\n",
            "memory.pressure": "some avg10=\(stalled) avg60=0.00 avg300=0.00 total=0\n",
        ]
        for (name, text) in texts {
            try text.write(toFile: "\(directory)/\(name)", atomically: true, encoding: .utf8)
        }
    }
}
