import Foundation
import Glibc

/// Whether the ports that a cluster needs are free, asked before anything is made or started.
package struct PortCheck {
    private var needs: [(port: Int, owner: String)]

    package init(_ needs: [(port: Int, owner: String)]) { self.needs = needs }

    /// - Parameter cluster: those of its processes that run already have their ports.
    init(_ cluster: DevelopmentCluster) {
        needs = []
        for node in cluster.nodes where cluster.state(of: node) == .down {
            needs += [(node.peerPort, "\(node.name)'s peers"), (node.apiPort, "\(node.name)'s clients")]
            needs.append((node.enrollPort, "hosts that join at \(node.name)"))
            needs.append((node.redisDoorPort, "\(node.name)'s clients of Redis"))
        }
        let catalog = DevelopmentService(name: "postgres", directory: "\(cluster.directory)/postgres")
        if cluster.usesCatalog, !catalog.isRunning { needs.append((cluster.postgresPort, "PostgreSQL")) }
        if let redis = DevelopmentRedis(cluster: cluster), !redis.service.isRunning {
            needs.append((cluster.redisPort, "Redis"))
        }
    }

    /// - Parameter isNew: whether the cluster can still be given other ports.
    /// - Throws: ``CommandFailure``: one line for all ports that are taken, with who has them and what to do.
    package func run(isNew: Bool, directory: String) throws {
        let taken = needs.filter { !Self.isFree($0.port) }
        guard !taken.isEmpty else { return }
        let list = taken.map { need in
            "port \(need.port) for \(need.owner) is taken" + (Self.holder(of: need.port).map { " by \($0)" } ?? "")
        }
        let advice =
            isNew
            ? "end what has it, or choose another --base-port"
            : "end what has it, or remove \(directory) and choose another --base-port"
        throw CommandFailure(.failed, "\(list.joined(separator: ", ")): \(advice)", reason: "port_in_use")
    }

    /// As a server would find it: an address that is about to be free again does not count.
    package static func isFree(_ port: Int) -> Bool {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard file >= 0 else { return true }
        defer { close(file) }
        var yes: CInt = 1
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<CInt>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        return isBound && listen(file, 1) == 0
    }

    /// The program that listens on a port, `postgres (pid 4711)`; nil when we may not look.
    package static func holder(of port: Int) -> String? {
        let suffix = ":" + (String(repeating: "0", count: 4) + String(port, radix: 16, uppercase: true)).suffix(4)
        var sockets: Set<String> = []
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in ((try? Files.read(table)) ?? "").split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ")
                // Local address, state (0A: listening) and inode (proc_net_tcp.txt of the kernel).
                guard fields.count > 9, fields[1].hasSuffix(suffix), fields[3] == "0A" else { continue }
                sockets.insert("socket:[\(fields[9])]")
            }
        }
        guard !sockets.isEmpty else { return nil }
        let manager = FileManager.default
        for pid in ((try? manager.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap({ Int($0) }) {
            for file in (try? manager.contentsOfDirectory(atPath: "/proc/\(pid)/fd")) ?? [] {
                guard let target = try? manager.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\(file)"),
                    sockets.contains(target)
                else { continue }
                let name = ((try? Files.read("/proc/\(pid)/comm")) ?? "").trimmingCharacters(in: .newlines)
                return "\(name.isEmpty ? "a program" : name) (pid \(pid))"
            }
        }
        return nil
    }
}
