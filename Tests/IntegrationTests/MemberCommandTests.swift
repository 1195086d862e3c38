import ClusterSupport
import EsperTypes
import Foundation
import TestSupport
import Testing

/// `esper cluster …` as operators call it.
@Suite(.timeLimit(.minutes(3)))
struct MemberCommandTests {
    private func esper(_ cluster: LocalCluster, _ words: String) async throws -> EsperProgram.Result {
        try await EsperProgram(
            ["cluster"] + words.split(separator: " ").map(String.init) + ["--output", "json"], in: cluster.root,
            environment: ["ESPER_CONFIG": cluster.clientFile]
        ).result()
    }

    /// Asks again while the cluster says that the time has not come.
    private func done(_ cluster: LocalCluster, _ words: String) async throws -> EsperProgram.Result {
        try await eventually("esper cluster \(words)") {
            let result = try await esper(cluster, words)
            let waits = ["not_heard", "not_caught_up", "change_pending", "quorum_not_heard", "transfer_failed"]
            return waits.contains { result.output.contains("\"\($0)\"") } ? nil : result
        }
    }

    private func members(_ cluster: LocalCluster) async throws -> [String: [String: Any]] {
        let status = try await esper(cluster, "status")
        let list = try #require(status.document?["members"] as? [[String: Any]], "\(status)")
        return list.reduce(into: [:]) { $0[$1["name"] as? String ?? ""] = $1 }
    }

    private func leader(_ cluster: LocalCluster) async throws -> String {
        try await eventually("a leader") {
            let leader = try await esper(cluster, "status").document?["leader"] as? String
            return leader?.isEmpty == false ? leader : nil
        }
    }

    @Test func `members are added, promoted, handed leadership, drained, replaced and removed by commands`()
        async throws
    {
        try await LocalCluster.run(3) { cluster in
            _ = try await leader(cluster)
            var new = try cluster.recruit("n4")
            let addresses = "--peer 127.0.0.1:\(new.peerPort) --api 127.0.0.1:\(new.apiPort)"
            let added = try await done(cluster, "add n4 \(addresses) --zone east")
            #expect(added.code == 0, "\(added)")
            let id = try #require((added.document?["ids"] as? [String])?.first)
            new.id = try #require(NodeID(id))

            // Not started yet: it has not caught up, and nothing changes.
            let early = try await esper(cluster, "promote n4")
            #expect(early.code == 1 && early.output.contains("not_committed"), "\(early)")
            #expect(early.output.contains("not_heard") || early.output.contains("not_caught_up"), "\(early)")
            #expect(try await members(cluster)["n4"]?["voter"] as? Bool == false)
            try cluster.join(new)
            #expect(try await done(cluster, "promote n4").code == 0)
            let voter = try await members(cluster)["n4"]
            #expect(voter?["voter"] as? Bool == true && voter?["id"] as? String == id, "\(String(describing: voter))")

            let moved = try await done(cluster, "transfer n4")
            #expect(moved.code == 0 && moved.document?["leader"] as? String == "n4", "\(moved)")
            let drained = try await done(cluster, "drain n4")
            #expect(drained.code == 0 && drained.document?["drained"] as? Bool == true, "\(drained)")
            try await until("another leader") { try await leader(cluster) != "n4" }
            let port = new.probePort
            try await until("n4 not ready") { try await onThread { Probe.get("/ready", port: port)?.status } == 503 }
            #expect(try await done(cluster, "drain n4 --undo").code == 0)
            try await until("n4 ready") { try await onThread { Probe.get("/ready", port: port)?.status } == 200 }

            // One that is dead for good gives its place to a learner.
            await cluster.kill("n1")
            var next = try cluster.recruit("n5")
            let second = try await done(
                cluster, "add n5 --peer 127.0.0.1:\(next.peerPort) --api 127.0.0.1:\(next.apiPort)")
            next.id = try #require((second.document?["ids"] as? [String])?.first.flatMap { NodeID($0) }, "\(second)")
            cluster.dismiss("n1")
            try cluster.join(next)
            let replaced = try await done(cluster, "replace n1 n5")
            #expect(replaced.code == 0, "\(replaced)")
            try await until("n1 gone") { try await members(cluster)["n1"] == nil }
            #expect(try await members(cluster)["n5"]?["voter"] as? Bool == true)

            // A leader that the settings of `esper` do not name, so that whoever answers is still a member.
            let last = "n4"
            #expect(try await done(cluster, "transfer \(last)").code == 0)
            #expect(try await done(cluster, "remove \(last)").code == 0)
            try await until("\(last) gone") { try await members(cluster)[last] == nil }
            #expect(try await members(cluster).count == 3)
            let unknown = try await esper(cluster, "remove \(last)")
            #expect(unknown.code == 1 && unknown.output.contains("unknown_member"), "\(unknown)")
        }
    }
}
