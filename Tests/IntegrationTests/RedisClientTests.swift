import ClusterSupport
import Foundation
import TestSupport
import Testing

/// The Redis doors of real nodes, used by clients that are not ours.
@Suite(
    .serialized, .timeLimit(.minutes(5)),
    .enabled("needs a Python with redis: set ESPER_TEST_PYTHON") { try await PythonCheck.has("redis") })
struct RedisClientTests {
    private static let programs = ["redis-cli", "redis-benchmark", "ccache", "gcc"]

    private func script(_ name: String) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent().appending(path: "python/\(name)")
    }

    private func check(_ name: String, _ arguments: [String]) async throws {
        let (status, output) = try await PythonCheck.run(script(name), arguments)
        #expect(status == 0, "\(output)")
        #expect(output.hasSuffix("done\n"), "\(output)")
    }

    @Test(
        .enabled("needs \(programs.joined(separator: ", "))") {
            programs.allSatisfy { FileManager.default.isExecutableFile(atPath: "/usr/bin/" + $0) }
        })
    func `clients of Redis find at every node what they left at another`() async throws {
        // A machine that runs other tests too is slow at times, and what a cache cannot keep in its time it does not keep.
        try await RedisDoors.run(", answer_within: 20s") { cluster, doors in
            try await check("redis_clients.py", [cluster.root, doors.ports.map(String.init).joined(separator: ",")])
        }
    }

    @Test func `a node without a quorum answers at once, and counts what it could not keep`() async throws {
        try await RedisDoors.run { cluster, doors in
            let others = cluster.members.prefix(2).map { "\(cluster.process($0.name).identifier)" }
            try await check("redis_minority.py", ["\(doors.ports[2])", others.joined(separator: ",")])
            let metrics = try await onThread { Probe.get("/metrics", port: cluster.members[2].probePort) }
            let unkept = try #require(metrics).body.split(separator: "\n").filter {
                $0.hasPrefix("esper_cache_redis_unkept")
            }
            #expect(unkept.contains { !$0.hasSuffix(" 0") }, "\(unkept)")
        }
    }

    @Test(.enabled("torch is not installed for ESPER_TEST_PYTHON") { try await PythonCheck.has("torch") })
    func `what one host compiled with PyTorch another does not compile again`() async throws {
        try await RedisDoors.run(", answer_within: 20s") { cluster, doors in
            // The doors in plain text.
            try await check("inductor.py", doors.ports.dropFirst().map(String.init))
        }
    }
}
