import ClusterSupport
import Foundation
import TestSupport
import Testing

/// The services of real nodes, asked by a gRPC client that is not ours.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct PythonTests {
    @Test(
        .enabled("needs a Python with grpcio and grpcio-tools: set ESPER_TEST_PYTHON") {
            try await PythonCheck.isPossible()
        })
    func `grpcio is served by every node, whichever leads`() async throws {
        try await LocalCluster.run(3) { cluster in
            let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "python/node.py")
            let (status, output) = try await PythonCheck.run(
                script, ports: cluster.members.map(\.apiPort),
                files: ["ca.pem", "tester.pem", "tester.key"].map { cluster.root + "/" + $0 })
            #expect(status == 0, "\(output)")
            #expect(output.hasSuffix("done\n"), "\(output)")
        }
    }
}
