import ClusterSupport
import Foundation
import TestSupport
import Testing

/// The kernel cache of real nodes, used through `esper cache`.
@Suite(.timeLimit(.minutes(3)))
struct CacheTests {
    /// One call through one node, or through any.
    private func cache(
        _ cluster: LocalCluster, _ words: [String], at node: String? = nil
    ) async throws -> EsperProgram.Result {
        var config = cluster.clientFile
        if let node {
            config = "\(cluster.root)/client-\(node).yaml"
            let all = try String(contentsOfFile: cluster.clientFile, encoding: .utf8)
            let rest = all.split(separator: "\n").filter { !$0.hasPrefix("endpoints:") }.joined(separator: "\n")
            try "endpoints: [\"127.0.0.1:\(cluster.member(node).apiPort)\"]\n\(rest)\n"
                .write(toFile: config, atomically: true, encoding: .utf8)
        }
        let arguments: [String] = ["cache", words[0], "--config", config] + words.dropFirst()
        return try await EsperProgram(arguments, in: cluster.root).result()
    }

    /// Bytes that are not like any others.
    private func file(_ name: String, bytes: Int, in cluster: LocalCluster) throws -> (path: String, data: Data) {
        let data = Data((0..<bytes).map { _ in UInt8.random(in: 0...255) })
        let path = "\(cluster.root)/\(name)"
        try data.write(to: URL(fileURLWithPath: path))
        return (path, data)
    }

    private func data(_ path: String) -> Data? { FileManager.default.contents(atPath: path) }

    @Test func `what one host has stored every host finds, and goes on finding when a node is lost`() async throws {
        try await LocalCluster.run(3) { cluster in
            let binary = try file("kernel.cubin", bytes: 2_500_000, in: cluster)
            let facts = try file("kernel.json", bytes: 700, in: cluster)
            let put = try await cache(
                cluster, ["put", "triton/matmul", binary.path, facts.path, "--cost", "41s"], at: "n1")
            #expect(put.code == 0, "\(put)")
            #expect(put.output.hasPrefix("stored: action"), "\(put.output)")
            for node in ["n1", "n2", "n3"] {
                let into = "\(cluster.root)/into-\(node)"
                let got = try await cache(cluster, ["get", "triton/matmul", "--into", into], at: node)
                #expect(got.code == 0, "\(got)")
                #expect(data(into + "/kernel.cubin") == binary.data)
                #expect(data(into + "/kernel.json") == facts.data)
            }
            // The first writer of an action wins.
            let late = try await cache(cluster, ["put", "triton/matmul", facts.path, "--output", "json"], at: "n2")
            #expect(late.code == 0 && late.document?["stored"] as? Bool == false, "\(late)")
            await cluster.kill("n1")
            let again = "\(cluster.root)/again"
            let got = try await cache(cluster, ["get", "triton/matmul", "--into", again])
            #expect(got.code == 0, "\(got)")
            #expect(data(again + "/kernel.cubin") == binary.data)
            let evicted = try await cache(cluster, ["evict", "triton/matmul"])
            #expect(evicted.code == 0, "\(evicted)")
            for node in ["n2", "n3"] {
                let gone = try await cache(cluster, ["get", "triton/matmul", "--into", again], at: node)
                #expect(gone.code == 1)
                #expect(gone.errors == ["esper: there is no artifact triton/matmul"])
            }
        }
    }

    @Test func `bytes that rot on one node's disk are found out and had from another`() async throws {
        try await LocalCluster.run(2) { cluster in
            let kernel = try file("kernel", bytes: 300_000, in: cluster)
            let put = try await cache(cluster, ["put", "rotten", kernel.path], at: "n1")
            #expect(put.code == 0, "\(put)")
            await cluster.kill("n2")
            #expect(try rot(blobsOf: 300_000, in: cluster.dataDirectory(of: "n2") + "/cache") == 1)
            try cluster.start("n2")
            let into = "\(cluster.root)/into"
            try await until("the artifact") {
                try await cache(cluster, ["get", "rotten", "--into", into], at: "n2").code == 0
            }
            #expect(data(into) == kernel.data)
        }
    }

    /// Flips a bit in every file of that size.
    private func rot(blobsOf size: Int, in directory: String) throws -> Int {
        var count = 0
        for name in try FileManager.default.subpathsOfDirectory(atPath: directory) {
            let path = directory + "/" + name
            guard var bytes = data(path), bytes.count == size else { continue }
            bytes[size / 2] ^= 1
            try bytes.write(to: URL(fileURLWithPath: path))
            count += 1
        }
        return count
    }

    @Test func `what cannot be done is told in one line`() async throws {
        try await LocalCluster.run(1) { cluster in
            let missing = try await cache(cluster, ["get", "nothing"])
            #expect(missing.code == 1)
            #expect(missing.errors == ["esper: there is no artifact nothing"])
            let nowhere = try await cache(cluster, ["put", "name", "\(cluster.root)/not-there"])
            #expect(nowhere.code == 1)
            #expect(nowhere.errors == ["esper: there is no \(cluster.root)/not-there"])
            let small = try file("small", bytes: 10, in: cluster)
            let long = try await cache(cluster, ["put", String(repeating: "n", count: 10_000), small.path])
            #expect(long.code == 1 && long.errors.count == 1, "\(long)")
            #expect(long.output.isEmpty)
            let first = try await cache(cluster, ["put", "alias", small.path, "--kind", "alias"])
            #expect(first.code == 0, "\(first)")
            let stale = try await cache(
                cluster, ["put", "alias", small.path, "--kind", "alias", "--expect-version", "1", "--output", "json"])
            #expect(stale.code == 1 && stale.errors.count == 1, "\(stale)")
            #expect(stale.output.contains(#""outcome":"not_committed""#), "\(stale)")
        }
    }
}
