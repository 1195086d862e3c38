import ClusterSupport
import EsperClient
import EsperTypes
import TestSupport
import Testing

/// Sixteen clients at work while the members of a cluster of five are exchanged and leaders die in between.
@Suite(.timeLimit(.minutes(ChaosDuration.load / 30 + 4)))
struct ReplacedMemberTests {
    @Test func `members replaced one by one while leaders die lose nothing, and the history is linearizable`()
        async throws
    {
        try await LoadedCluster.endure(nodes: 5) { loaded, end in
            let client = try loaded.cluster.client()
            defer { client.close() }
            var (replaced, kills) = (0, 0)
            // The clients go on knowing the address of the last.
            for old in loaded.cluster.members.dropLast().map(\.name) where .now + .seconds(4) < end {
                let new = "r\(replaced + 1)"
                try await add(new, to: loaded.cluster, client)
                let start = loaded.recorder.now()
                let leader = try await loaded.observatory.leader()
                await loaded.cluster.kill(leader)
                try await replace(old, with: new, client)
                loaded.recorder.recordFault("kill", leader, since: start)
                kills += 1
                if leader == old {
                    loaded.cluster.dismiss(old)
                } else {
                    try loaded.cluster.start(leader)
                    loaded.cluster.dismiss(old)
                    await loaded.cluster.kill(old)
                    try await loaded.observatory.waitUntilCaughtUp(leader)
                }
                try await loaded.observatory.waitUntilCaughtUp(new)
                replaced += 1
            }
            #expect(replaced >= 2)
            return "\(replaced) members replaced, \(kills) leaders killed"
        }
    }

    private func add(_ name: String, to cluster: LocalCluster, _ client: EsperClient) async throws {
        var member = try cluster.recruit(name)
        let change = try await client.addMember(
            name, peer: HostPort(host: "127.0.0.1", port: member.peerPort),
            api: HostPort(host: "127.0.0.1", port: member.apiPort))
        member.id = try #require(change.ids.first.flatMap { NodeID($0) })
        try cluster.join(member)
    }

    /// Asks until it is done; an outcome that is not known is found out by asking again.
    private func replace(_ old: String, with new: String, _ client: EsperClient) async throws {
        var isDoubtful = false
        try await until("\(new) in the place of \(old)") {
            do {
                _ = try await client.replaceMember(old, with: new)
                return true
            } catch let error as EsperError {
                if isDoubtful, error.code == "unknown_member" { return true }
                isDoubtful = isDoubtful || error.outcome == .unknown
                return false
            }
        }
    }
}
