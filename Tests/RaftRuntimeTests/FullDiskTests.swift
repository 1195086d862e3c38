import Coordination
import EsperTypes
import RaftRuntime
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct `A disk without room for more` {
    /// Writes until the leader refuses for want of room.
    private func fillDisk(of name: String, _ cluster: TestCluster) async throws {
        cluster.disk(of: name).isFull = true
        let ballast = String(repeating: "x", count: 48 << 10)
        try await until("a refusal") {
            do {
                try await cluster.put("ballast", ballast, on: name)
                return false
            } catch let failure as ServiceFailure where failure.code == .storageFull {
                return true
            }
        }
    }

    @Test func `lets what the node itself has to write wait`() async throws {
        try await TestCluster.run(1) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n1")
            try await cluster.command(.acquireLock(.init(name: "l", session: first)), on: "n1")
            let (node, sink) = (cluster["n1"], TurnSink())
            func request(_ operation: ServiceRequest.Operation) -> ServiceRequest {
                ServiceRequest(
                    token: 1, deadline: NodeClock.now() + .seconds(60), principal: "client/test", operation: operation)
            }
            let claim = Command.acquireLock(.init(name: "l", session: second))
            node.submit([request(.claim(claim, nil, until: .distantFuture))], from: sink)
            try await until("the claim") { try await cluster.queue(of: "l", on: "n1") == [first, second] }
            try await fillDisk(of: "n1", cluster)
            // The claim is to be taken back, and an operator's order is for the audit trail.
            node.submit([request(.cancel)], from: sink)
            try await cluster.heal("n1")
            // Stands behind both.
            let refused = await #expect(throws: ServiceFailure.self) { try await cluster.put("key", "value", on: "n1") }
            #expect(refused?.code == .storageFull)
            cluster.disk(of: "n1").isFull = false
            try await until("room") { try await cluster.status(of: "n1").members.allSatisfy { !$0.isStorageFull } }
            try await until("the claim to be taken back", within: .seconds(5)) {
                try await cluster.queue(of: "l", on: "n1") == [first]
            }
            guard case .outbox(let records) = try await cluster.read(.outbox(after: .zero, limit: 100), on: "n1") else {
                throw TestCluster.Unexpected(body: "no outbox")
            }
            #expect(records.contains { $0.kind == .administration && $0.subject == "node.healed" })
        }
    }

    @Test func `refuses changes of members at once, with the reason`() async throws {
        try await TestCluster.run(1, spares: 2) { cluster in
            try await cluster.change([.add(cluster.newMember("n2"))], on: "n1")
            try await fillDisk(of: "n1", cluster)
            for change in [MemberChange.add(cluster.newMember("n3")), .promote("n2"), .remove("n2")] {
                let refused = await #expect(throws: ServiceFailure.self) {
                    try await cluster.change([change], on: "n1", timeout: .seconds(2))
                }
                #expect(refused?.code == .storageFull, "\(change): \(String(describing: refused))")
                #expect(refused?.outcome == .notCommitted)
                #expect(refused?.message.contains("disk is full") == true)
            }
            cluster.disk(of: "n1").isFull = false
            try await until("room") { try await cluster.status(of: "n1").members.allSatisfy { !$0.isStorageFull } }
            try await cluster.change([.remove("n2")], on: "n1")
        }
    }
}
