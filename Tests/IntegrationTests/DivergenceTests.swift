import ClusterSupport
import EsperClient
import Foundation
import TestSupport
import Testing

/// A node whose state becomes another than the others' is found and stops; nobody else does.
@Suite(.timeLimit(.minutes(3)))
struct DivergenceTests {
    private func metric(_ name: String, of member: LocalCluster.Member) async throws -> Double? {
        let body = try await onThread { Probe.get("/metrics", port: member.probePort)?.body } ?? ""
        return body.split(separator: "\n").first { $0.hasPrefix(name + " ") }?
            .split(separator: " ").last.flatMap { Double($0) }
    }

    private func put(_ numbers: Range<UInt32>, _ client: EsperClient) async throws {
        for number in numbers { _ = try await client.put(Array("key/\(number)".utf8), Array("\(number)".utf8)) }
    }

    @Test(arguments: [false, true])
    func `only the node that differs stops, naming the entry, and the cluster serves`(isLeader: Bool) async throws {
        try await LocalCluster.run(3, started: false) { cluster in
            let odd = "n2"
            let rest = cluster.members.filter { $0.name != odd }
            let file = cluster.settingsFile(of: odd)
            let text = try String(contentsOfFile: file, encoding: .utf8)
            try (text + "\nfault: {diverge_at: 100}\n").write(toFile: file, atomically: true, encoding: .utf8)
            for member in cluster.members { try cluster.start(member.name) }
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            _ = try await cluster.leader()
            if isLeader {
                try await until("\(odd) to lead") {
                    do { _ = try await client.transferLeadership(to: odd) } catch is EsperError {}
                    return try await cluster.leader() == odd
                }
            }
            try await put(0..<200, client)
            // By its own decision, and long before the first multiple of the interval: at rest all are at one index.
            #expect(await cluster.process(odd).wait(atMost: .seconds(30)) == 70)
            let line = try #require(
                cluster.log(of: odd).split(separator: "\n").first { $0.contains("not that of the majority") })
            let index = try #require(
                line.split(separator: " ").first { $0.hasPrefix("raft.index=") }?.dropFirst(11))
            #expect((100...1024).contains(UInt64(index) ?? 0), "\(line)")
            #expect(
                line.contains("state.own=") && line.contains("state.majority=") && line.contains("empty data directory")
            )
            try await put(200..<400, client)
            for number in 0..<400 as Range<UInt32> {
                let found = try await client.get(Array("key/\(number)".utf8)).0
                #expect(found?.value == Array("\(number)".utf8))
            }
            for member in rest {
                #expect(await cluster.process(member.name).wait(atMost: .zero) == nil, "\(member.name) runs")
                #expect(!cluster.log(of: member.name).contains("not that of the majority"))
            }
            // It does not come back by itself, and says why in one line.
            let before = cluster.log(of: odd).split(separator: "\n").count
            try cluster.start(odd)
            #expect(await cluster.process(odd).wait(atMost: .seconds(30)) == 1)
            let lines = cluster.log(of: odd).split(separator: "\n").dropFirst(before)
            #expect(
                lines.count == 1 && lines.first?.contains("diverged") == true
                    && lines.first?.contains("log entry \(index)") == true)
        }
    }

    @Test func `where two differ and no third judges, both go on and say so`() async throws {
        try await LocalCluster.run(2, started: false) { cluster in
            let file = cluster.settingsFile(of: "n2")
            let text = try String(contentsOfFile: file, encoding: .utf8)
            try (text + "\nfault: {diverge_at: 50}\n").write(toFile: file, atomically: true, encoding: .utf8)
            for member in cluster.members { try cluster.start(member.name) }
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await put(0..<100, client)
            for member in cluster.members {
                try await until("\(member.name) to tell") {
                    let ready = try await onThread { Probe.get("/ready", port: member.probePort) }
                    return ready?.status == 200 && ready?.body.contains("no majority says who is right") == true
                }
                #expect(try await metric("esper_raft_state_differing_peers", of: member) == 1)
                #expect((try await metric("esper_raft_state_differences_total", of: member) ?? 0) >= 1)
            }
            try await put(100..<110, client)
        }
    }

    @Test func `states agree through restarts and a snapshot that catches a node up`() async throws {
        let settings = "raft: {snapshot_after: 64KiB, segment_size: 1MiB}"
        try await LocalCluster.run(3, settings: settings) { cluster in
            let first = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            let late = try #require(cluster.members.first { $0.name != first })
            try await put(0..<100, client)
            await cluster.kill(late.name)
            for number in 0..<80 as Range<UInt32> {
                _ = try await client.put(Array("large/\(number)".utf8), [UInt8](repeating: 7, count: 50_000))
            }
            try cluster.start(late.name)
            try await until("the snapshot") { cluster.log(of: late.name).contains("state restored from a snapshot") }
            // One that restores its own and replays the rest.
            let other = try #require(cluster.members.first { $0.name != first && $0.name != late.name })
            await cluster.kill(other.name)
            try cluster.start(other.name)
            // What is agreed rises beyond what the others had when the node came back.
            try await put(100..<200, client)
            for member in cluster.members {
                try await until("\(member.name) to be compared at the end") {
                    guard let agreed = try await metric("esper_raft_state_agreed_index", of: member),
                        let applied = try await metric("esper_raft_applied_index", of: member)
                    else { return false }
                    return agreed == applied && agreed > 280
                }
                #expect(try await metric("esper_raft_state_differing_peers", of: member) ?? 0 == 0)
            }
        }
    }
}
