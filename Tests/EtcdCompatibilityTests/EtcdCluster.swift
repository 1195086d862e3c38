import ClusterSupport
import Foundation
import Identity
import TestSupport

/// A real etcd cluster of three, with the certificates of a cluster of ours.
///
/// Its processes end with the one that started them, and that one ends with this process at the latest.
struct EtcdCluster {
    /// Where clients are served.
    let ports: [Int]

    /// Runs `body` with a cluster that serves, and leaves no process behind.
    static func run(besides esper: LocalCluster, _ body: (EtcdCluster) async throws -> Void) async throws {
        let ports = try FreePorts.take(6)
        let log = esper.root + "/reference.log"
        try PEMFile.write(try esper.authority.privateKeyPEM, to: esper.root + "/ca.key", replacing: true)
        let child = try Child(
            "/usr/bin/env",
            CompatibilitySuite.command(
                "reference.py",
                [
                    "--certificates", esper.root, "--directory", esper.root + "/etcd",
                    "--ports", ports.map(String.init).joined(separator: ","),
                ]), output: log)
        do {
            try await until("etcd", within: .seconds(60)) {
                let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
                return text.contains("\"processes\"")
            }
            try await body(EtcdCluster(ports: Array(ports.prefix(3))))
        } catch {
            await stop(child)
            throw error
        }
        await stop(child)
    }

    private static func stop(_ child: Child) async {
        await onThread {
            child.writeLine()
            _ = child.wait()
        }
    }
}
