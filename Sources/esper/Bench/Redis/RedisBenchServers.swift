import EsperTypes
import Foundation
import Glibc
import Synchronization

/// A redis-server and a node of Esper for one measurement, under a directory that goes with them.
final class RedisBenchServers: Sendable {
    private let directory: String
    private let started = Mutex<[(name: String, record: ProcessRecord)]>([])

    init(directory: String) { self.directory = directory }

    func startRedis() async throws -> RedisTarget {
        let port = try Self.freePorts(1)
        let record = try Spawn.detached(
            [
                "redis-server", "--bind", "127.0.0.1", "--port", "\(port)", "--save", "", "--appendonly", "no", "--dir",
                directory,
            ], log: directory + "/redis.log")
        started.withLock { $0.append(("redis-server", record)) }
        try await wait(for: "redis-server", record, port)
        return RedisTarget(address: HostPort(host: "127.0.0.1", port: port))
    }

    /// A cluster of one, whose node answers by leases as a node of many does.
    func startNode() async throws -> RedisTarget {
        let cluster = DevelopmentCluster(
            directory: directory + "/esper", nodes: 1, basePort: try Self.freePorts(5), usesCatalog: false)
        let node = cluster.nodes[0]
        try Files.createDirectory(cluster.directory, mode: 0o755)
        try cluster.save()
        try cluster.prepareCertificates()
        try cluster.writeClientSettings()
        try cluster.writeSettings(of: node, catalogURL: nil, redisURL: nil)
        try cluster.start(node)
        if let record = cluster.process(of: node) { started.withLock { $0.append((node.name, record)) } }
        _ = try await cluster.waitUntilReady(for: WrittenDuration(.seconds(30)))
        return RedisTarget(address: HostPort(host: "127.0.0.1", port: node.redisDoorPort))
    }

    /// Ends what was started and removes its files.
    func stop() async {
        // Whatever is left after ten seconds is killed; there is nothing more to do about it.
        _ = try? await DevelopmentCluster.stop(started.withLock { $0 }, with: SIGTERM, within: 10)
        try? FileManager.default.removeItem(atPath: directory)
    }

    private func wait(for name: String, _ record: ProcessRecord, _ port: Int) async throws {
        for _ in 0..<200 {
            if DevelopmentService.accepts(port: port) { return }
            guard record.isRunning else {
                throw CommandFailure("\(name) ended at once; is it installed? \(lastWords(of: name))")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw CommandFailure(.timedOut, "\(name) was not ready within 10 s: \(lastWords(of: name))")
    }

    private func lastWords(of name: String) -> String {
        let text = (try? Files.read(directory + "/redis.log")) ?? ""
        return text.split(whereSeparator: \.isNewline).suffix(2).joined(separator: "; ")
    }

    /// - Returns: the first of so many free ports in a row.
    private static func freePorts(_ count: Int) throws -> Int {
        for _ in 0..<1000 {
            let first = Int.random(in: 10_000..<30_000)
            if (first..<first + count).allSatisfy({ PortCheck.isFree($0) }) { return first }
        }
        throw CommandFailure("there are no \(count) free ports in a row")
    }
}
