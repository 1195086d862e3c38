import ClusterSupport
import EsperClient
import Foundation
import Glibc
import TestSupport
import Testing

/// What a node tells of those that it asks for blobs.
@Suite(.timeLimit(.minutes(2)))
struct CachePeerTests {
    @Test func `a peer that takes reads and hangs is told of until it answers, or is none any more`() async throws {
        try await LocalCluster.run(3, settings: LocalCluster.calmElections) { cluster in
            _ = try await cluster.waitUntilSettled(hosts: 3)
            let nodes = try CacheNodes(cluster, timeout: .seconds(2))
            defer { nodes.close() }
            // Without its leader the cluster would know no names.
            let asker = try await cluster.leader()
            let others = cluster.members.map(\.name).filter { $0 != asker }
            let (hanging, answering) = (others[0], others[1])
            let kernels = try await kernelsLeft(with: hanging, 2, nodes)
            try #require(kernels.count == 2)
            func isTold(_ value: Double, whileReading kernel: String) async throws {
                try await until("esper_cache_peer_open of \(hanging) to be \(value)") {
                    _ = try? await nodes.value(of: kernel, at: asker)
                    return try await isOpen(hanging, at: asker, cluster) == value
                }
            }
            #expect(try await isOpen(hanging, at: asker, cluster) == 0)
            for (kernel, isLast) in zip(kernels, [false, true]) {
                cluster.process(hanging).signal(SIGSTOP)
                try await isTold(1, whileReading: kernel)
                #expect(try await isOpen(answering, at: asker, cluster) == 0, "\(answering) answers")
                if isLast {
                    let client = try EsperClient(settingsFile: cluster.clientFile)
                    defer { client.close() }
                    _ = try await client.removeMembers([hanging])
                } else {
                    cluster.process(hanging).signal(SIGCONT)
                }
                try await isTold(0, whileReading: kernel)
                if !isLast {
                    try await until("the bytes") {
                        try await nodes.value(of: kernel, at: asker) == Kernel.bytes(of: kernel)
                    }
                }
            }
        }
    }

    /// Names of kernels whose manifests that node alone has, on its disk.
    private func kernelsLeft(with holder: String, _ count: Int, _ nodes: CacheNodes) async throws -> [String] {
        var kernels: [String] = []
        for number in 0..<100 where kernels.count < count {
            let name = "kernel/\(number)"
            _ = try await nodes.store(name, at: "n1")
            let manifest = try await nodes.digests(of: name)[0]
            guard nodes.disks(with: manifest).contains(holder) else { continue }
            for node in nodes.names where node != holder {
                if let file = nodes.blobFile(of: manifest, at: node) {
                    try FileManager.default.removeItem(atPath: file)
                }
            }
            try await nodes.forget(name)
            kernels.append(name)
        }
        return kernels
    }

    private func isOpen(_ peer: String, at node: String, _ cluster: LocalCluster) async throws -> Double? {
        let port = cluster.member(node).probePort
        return try await onThread { Probe.metric("esper_cache_peer_open{peer=\"\(peer)\"}", port: port) }
    }
}
