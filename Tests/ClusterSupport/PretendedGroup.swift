import Foundation
import TestSupport

/// What a node reads of its control group (version 2), in the hands of a test: files of our own in place of the kernel's, in a mount
/// namespace of that node.
public struct PretendedGroup: Sendable {
    private let root: String
    private let directory: String

    /// Whether there is such a group and this process may have a mount namespace, tried once.
    public static let isPossible: Bool = {
        let root = NSTemporaryDirectory() + "esper-group-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: root) }
        guard let group = try? PretendedGroup(root: root) else { return false }
        return (try? Child.run(group.launcher[0], group.launcher.dropFirst() + ["/bin/true"])) != nil
    }()

    public init(for cluster: LocalCluster) throws { try self.init(root: cluster.root + "/group") }

    private init(root: String) throws {
        let groups = try String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)
        guard let line = groups.split(separator: "\n").first(where: { $0.hasPrefix("0::") }) else {
            throw POSIXError(.EOPNOTSUPP)
        }
        self.root = root
        directory = root + line.dropFirst(3)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
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
