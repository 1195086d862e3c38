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
    /// The members' processes, in the order of the ports.
    let processes: [Int32]

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
            let processes = try await eventually("etcd", within: .seconds(60)) { try Self.processes(in: log) }
            try await body(EtcdCluster(ports: Array(ports.prefix(3)), processes: processes))
        } catch {
            await stop(child)
            throw error
        }
        await stop(child)
    }

    /// What the script says as soon as every member serves.
    private static func processes(in log: String) throws -> [Int32]? {
        let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") where line.contains("\"processes\"") {
            let said = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            return (said?["processes"] as? [NSNumber])?.map(\.int32Value)
        }
        return nil
    }

    private static func stop(_ child: Child) async {
        await onThread {
            child.writeLine()
            _ = child.wait()
        }
    }
}
