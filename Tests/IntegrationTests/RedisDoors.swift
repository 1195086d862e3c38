import ClusterSupport
import Foundation
import TestSupport

/// The doors for clients of Redis of a cluster: users, and a port for each node; the first speaks TLS.
struct RedisDoors {
    let ports: [Int]

    /// The hashes are of `correct`, `right`, `kept` and `told`.
    private static let users = """
        tenants:
          - {name: kept, kind: store, mode: durable}
          - {name: told, kind: store, consistency: stale}
        users:
          - name: builder
            tenant: builds
            password_sha256: 15a596e3c98c407e043751ff3b21ff0358a1bdfdf3fe948b1523893a8e5de2e8
          - name: reader
            tenant: builds
            rights: read
            password_sha256: 27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9
          - name: keeper
            tenant: kept
            password_sha256: 79f076abdd19a752db7267bfff2f9022161d120dea919fdaca2ffdfc24ca8c96
          - name: teller
            tenant: told
            password_sha256: 1fcc08c7733965bce66a034f70cc3e226eeaa3ccd3a960cff226d786d055873a
          - {name: proven, tenant: certified, certificate: client/tester}
        """

    /// Runs `body` with a cluster of three whose nodes have doors, and leaves nothing behind.
    ///
    /// - Parameter more: further settings of each door.
    static func run(_ more: String = "", _ body: (LocalCluster, RedisDoors) async throws -> Void) async throws {
        try await LocalCluster.run(3, settings: "raft: {holder_lease: 600ms}", started: false) { cluster in
            let doors = RedisDoors(ports: try FreePorts.take(3))
            let file = cluster.root + "/users.yaml"
            try users.write(toFile: file, atomically: true, encoding: .utf8)
            for (member, port) in zip(cluster.members, doors.ports) {
                let path = cluster.settingsFile(of: member.name)
                let text = try String(contentsOfFile: path, encoding: .utf8)
                let door = """
                    {address: "127.0.0.1:\(port)", users_file: \(file), tls: \(port == doors.ports[0])\(more)}
                    """
                try (text + "\ncache: {redis_door: \(door)}\n").write(toFile: path, atomically: true, encoding: .utf8)
                try cluster.start(member.name)
            }
            for member in cluster.members {
                try await until("the doors of \(member.name)") {
                    try await onThread { Probe.get("/health", port: member.probePort) != nil }
                }
            }
            try await body(cluster, doors)
        }
    }
}
