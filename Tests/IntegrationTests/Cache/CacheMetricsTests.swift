import ClusterSupport
import EsperClient
import Foundation
import TestSupport
import Testing

/// What a node with all tiers and another node tells of its cache, against docs/CACHE.md.
@Suite(
    .serialized, .timeLimit(.minutes(2)),
    .enabled(if: PrivatePostgreSQL.isInstalled, "PostgreSQL is not installed"))
struct CacheMetricsTests {
    /// Names in the first column of the table.
    private func documented() throws -> Set<String> {
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../docs/CACHE.md")
        let text = try String(contentsOf: root.standardized, encoding: .utf8)
        let section = try #require(text.split(separator: "\n## Metrics\n").dropFirst().first)
        var names: [String] = []
        for line in section.prefix(upTo: section.range(of: "\n## ")?.lowerBound ?? section.endIndex).split(
            separator: "\n")
        where line.hasPrefix("| `") {
            let column = line.dropFirst(2).split(separator: " | ", maxSplits: 1)[0]
            names += column.split(separator: "`").filter { $0.hasPrefix("esper_") }.map(String.init)
        }
        let once = Set(names)
        #expect(once.count == names.count, "some stand there twice")
        return once
    }

    /// What a node says of a metric without labels; 0 when it says nothing.
    private func value(_ name: String, of node: String, _ cluster: LocalCluster) async throws -> Double {
        let port = cluster.member(node).probePort
        return try await onThread { Probe.metric(name, port: port) } ?? 0
    }

    @Test func `every change that a node with a lease has to have is measured at the leader`() async throws {
        try await LocalCluster.run(2, settings: LocalCluster.calmElections + "\nraft.holder_lease: 2s") { cluster in
            let leader = try await cluster.leader()
            let holder = try #require(cluster.members.map(\.name).first { $0 != leader })
            try await until("a lease of \(holder)") {
                try await value("esper_cache_lease_remaining_seconds", of: holder, cluster) > 0
            }
            let metric = "esper_cache_invalidation_duration_seconds"
            let before = try await value(metric + "_count", of: leader, cluster)
            let elsewhere = try await value(metric + "_count", of: holder, cluster)
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            // A lease may end on a busy machine; then it is another change that is measured.
            try await until("fifty measured changes") {
                _ = try await client.put(Array("key".utf8), [1])
                return try await value(metric + "_count", of: leader, cluster) >= before + 50
            }
            let (after, sum) = (
                try await value(metric + "_count", of: leader, cluster),
                try await value(metric + "_sum", of: leader, cluster)
            )
            // Nothing is measured once the lease of two seconds is over.
            #expect(sum > 0 && sum < 2 * after, "\(before), \(after), \(sum) s")
            #expect(try await value(metric + "_count", of: holder, cluster) == elsewhere)
        }
    }

    @Test func `every metric of the table is told, and every one that is told stands in the table`() async throws {
        let documented = try documented()
        #expect(documented.count > 60)
        try await withPrivatePostgreSQL { server in
            let archive = NSTemporaryDirectory() + "/esper-archive-\(UInt64.random(in: 0 ... .max))"
            defer { try? FileManager.default.removeItem(atPath: archive) }
            let settings = """
                catalog: {url: "host=\(server.socketDirectory) port=\(server.port) user=esper dbname=esper"}
                cache: {redis: "redis://127.0.0.1:1", archive: {directory: \(archive)}}
                """
            try await LocalCluster.run(2, settings: settings) { cluster in
                let port = cluster.members[0].probePort
                func told() async throws -> Set<String> {
                    let body = try await onThread { Probe.get("/metrics", port: port)?.body } ?? ""
                    return Set(
                        body.split(separator: "\n").filter { $0.hasPrefix("# TYPE esper_") }
                            .map { String($0.split(separator: " ")[2]) })
                }
                try await until("all metrics of \(documented.subtracting(try await told()))") {
                    try await documented.isSubset(of: told())
                }
                let more = try await told().subtracting(documented)
                    .filter { $0.hasPrefix("esper_cache_") && !$0.hasPrefix("esper_cache_redis_") }
                #expect(more.isEmpty, "not in docs/CACHE.md: \(more.sorted())")
            }
        }
    }
}
