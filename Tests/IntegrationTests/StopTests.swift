import ClusterSupport
import Glibc
import TestSupport
import Testing

/// What a client sees of a node that is told to stop.
@Suite(.timeLimit(.minutes(2)))
struct StopTests {
    @Test func `a second SIGTERM ends the node at once`() async throws {
        try await LocalCluster.run(3, started: false) { cluster in
            // Alone of three it looks for somebody to hand over to, half of its time.
            try cluster.start("n1")
            let process = cluster.process("n1")
            try await until("the start") { cluster.log(of: "n1").contains("node started") }
            process.signal(SIGTERM)
            try await until("the stop") { cluster.log(of: "n1").contains("node stops") }
            process.signal(SIGTERM)
            #expect(await process.wait(atMost: .seconds(2)) == 1)
        }
    }
}
