import ClusterSupport
import EsperClient
import Foundation
import TestSupport
import Testing

/// Snapshots on their way from one process to another.
@Suite(.timeLimit(.minutes(3)))
struct SnapshotTransferTests {
    private static let bytes = 48 << 10

    /// Kills it, and writes until it needs a snapshot.
    private func leaveBehind(_ node: String, _ cluster: LocalCluster, _ client: EsperClient) async throws {
        try await put(0..<1, client)
        await cluster.kill(node)
        // More than a leader keeps of its log behind a snapshot: 16 MiB.
        try await put(1..<860, client)
        // The leader's newest is what it sends: large enough to be caught on its way.
        for member in cluster.members where member.name != node {
            let directory = cluster.dataDirectory(of: member.name) + "/snapshots"
            try await until("a snapshot of most of it") { largestFile(in: directory) > 24 << 20 }
        }
    }

    @Test func `a node that is killed while it receives a snapshot goes on where it was`() async throws {
        let settings = "raft: {snapshot_after: 4MiB, snapshot_rate: 8MiB}"
        try await LocalCluster.run(3, settings: settings) { cluster in
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await leaveBehind("n3", cluster, client)
            try cluster.start("n3")
            let directory = cluster.dataDirectory(of: "n3") + "/snapshots"
            try await until("a part of a snapshot") { receivedBytes(in: directory) > 12 << 20 }
            await cluster.kill("n3")
            let lives = cluster.log(of: "n3").components(separatedBy: "node started")
            let part = receivedBytes(in: directory)
            #expect(part < 24 << 20, "it was whole already")
            try cluster.start("n3")
            // What it says after its last start.
            func said() -> String {
                cluster.log(of: "n3").components(separatedBy: "node started").dropFirst(lives.count).joined()
            }
            try await until("the rest of it") { said().contains("state restored from a snapshot") }
            let received = said().split(separator: "\n").filter { $0.contains("a snapshot is being received") }
            #expect(received.count == 1, "\(said())")
            let offset = received.first?.split(separator: " ").first { $0.hasPrefix("offset=") }?.dropFirst(7)
            #expect(offset.flatMap { Int($0) } ?? 0 >= 8 << 20)
            let port = cluster.member("n3").probePort
            try await until("readiness") { try await onThread { Probe.get("/ready", port: port)?.status } == 200 }
            await cluster.kill("n2")
            // With the restored node alone the leader goes on, and what it says is right.
            try await put(860..<865, client)
            for number in stride(from: 0 as UInt32, to: 865, by: 37) {
                let found = try await client.get(Array("key/\(number)".utf8)).0
                #expect(found?.value == [UInt8](repeating: UInt8(number % 251), count: Self.bytes))
            }
        }
    }

    @Test func `heartbeats never wait while a node catches up by snapshot and log under load`() async throws {
        // Shorter than sending the snapshot takes (24 MiB at 8 MiB/s), and far longer than a busy machine lets a process wait.
        let limit = 2.0
        let settings = """
            raft: {snapshot_after: 4MiB, snapshot_rate: 8MiB, heartbeat: 100ms, election_timeout: \(Int(limit * 1000))ms}
            """
        try await LocalCluster.run(3, settings: settings) { cluster in
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await leaveBehind("n3", cluster, client)
            let before = try await [view(of: "n1", cluster), view(of: "n2", cluster)]
            try await withThrowingTaskGroup(of: Int.self) { group in
                for worker in 0..<16 { group.addTask { try await self.load(worker, client) } }
                try cluster.start("n3")
                try await until("the snapshot") { cluster.log(of: "n3").contains("state restored from a snapshot") }
                let port = cluster.member("n3").probePort
                try await until("readiness") { try await onThread { Probe.get("/ready", port: port)?.status } == 200 }
                group.cancelAll()
                var puts = 0
                while let count = try await group.next() { puts += count }
                #expect(puts > 500, "there was no load to speak of")
            }
            // Nobody saw the leader, the term or a role change, and nobody waited for word of the leader.
            #expect(try await [view(of: "n1", cluster), view(of: "n2", cluster)] == before)
            let late = try await view(of: "n3", cluster)
            #expect(late.term == before[0].term && late.campaigns == 0)
            for name in ["n1", "n2", "n3"] {
                let silence = try await metric("esper_raft_leader_silence_seconds", of: name, cluster)
                let isLeader = try await metric("esper_raft_is_leader", of: name, cluster) == 1
                print("\(name) heard nothing of the leader for \(silence) s at most")
                // Five heartbeats: a sixth of what sending the snapshot takes.
                #expect(isLeader ? silence == 0 : silence > 0 && silence < 0.5, "\(name): \(silence) s")
            }
        }
    }

    /// Puts one after another until it is cancelled.
    private func load(_ worker: Int, _ client: EsperClient) async throws -> Int {
        var count = 0
        while true {
            let key = Array("load/\(worker)/\(count % 100)".utf8)
            do {
                _ = try await client.put(key, [UInt8](repeating: 1, count: 256))
            } catch {
                guard Task.isCancelled else { throw error }
                return count
            }
            count += 1
        }
    }

    /// How a node sees leadership.
    private struct View: Equatable {
        var term: Double
        var isLeader: Double
        /// How often it or a peer was about to become another leader.
        var campaigns: Double
    }

    private func view(of name: String, _ cluster: LocalCluster) async throws -> View {
        var campaigns = 0.0
        for reason in ["timeout", "linkClosed", "transfer", "preVoteWon", "electionWon", "newerTerm", "quorumLost"] {
            campaigns += try await metric("esper_raft_role_changes_total{reason=\"\(reason)\"}", of: name, cluster)
        }
        return View(
            term: try await metric("esper_raft_term", of: name, cluster),
            isLeader: try await metric("esper_raft_is_leader", of: name, cluster), campaigns: campaigns)
    }

    private func metric(_ name: String, of node: String, _ cluster: LocalCluster) async throws -> Double {
        let port = cluster.member(node).probePort
        return try #require(try await onThread { Probe.metric(name, port: port) }, "\(name) of \(node)")
    }

    private func put(_ numbers: Range<UInt32>, _ client: EsperClient) async throws {
        for number in numbers {
            _ = try await client.put(
                Array("key/\(number)".utf8), [UInt8](repeating: UInt8(number % 251), count: Self.bytes))
        }
    }

    private func receivedBytes(in directory: String) -> Int {
        largestFile(in: directory) { $0.hasPrefix("received-") }
    }

    private func largestFile(in directory: String, where isMeant: (String) -> Bool = { _ in true }) -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return names.filter(isMeant).map { name in
            let attributes = try? FileManager.default.attributesOfItem(atPath: directory + "/" + name)
            return (attributes?[.size] as? Int) ?? 0
        }.max() ?? 0
    }
}
