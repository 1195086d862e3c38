import ClusterSupport
import EsperClient
import EsperTypes
import TestSupport
import Testing

/// Sixteen clients at work while the members of a cluster of five are exchanged and leaders die in between.
@Suite(.timeLimit(.minutes(ChaosDuration.load / 30 + 4)))
struct ReplacedMemberTests {
    @Test func `members replaced one by one, all of them twice, while leaders die lose nothing and stay linearizable`()
        async throws
    {
        try await LoadedCluster.endure(nodes: 5) { loaded, _ in
            let client = try loaded.cluster.client()
            defer { client.close() }
            var (replaced, kills) = (0, 0)
            var vacated: LocalCluster.Member?
            // Every member twice, however long that takes; the load goes on until then.
            let count = 2 * loaded.cluster.members.count
            while replaced < count {
                let old = loaded.cluster.members[0]
                let new = "r\(replaced + 1)"
                // At an address that is free again: the clients go on with those they were given.
                try await add(new, inPlaceOf: vacated, to: loaded.cluster, client)
                let start = loaded.recorder.now()
                let leader = try await loaded.observatory.leader()
                await loaded.cluster.kill(leader)
                try await replace(old.name, with: new, client)
                loaded.recorder.recordFault("kill", leader, since: start)
                kills += 1
                if leader != old.name { try loaded.cluster.start(leader) }
                loaded.cluster.dismiss(old.name)
                if leader != old.name {
                    await loaded.cluster.kill(old.name)
                    try await loaded.observatory.waitUntilCaughtUp(leader)
                }
                try await loaded.observatory.waitUntilCaughtUp(new)
                vacated = old
                replaced += 1
            }
            return "\(replaced) members replaced, \(kills) leaders killed"
        }
    }

    private func add(
        _ name: String, inPlaceOf left: LocalCluster.Member?, to cluster: LocalCluster, _ client: EsperClient
    ) async throws {
        var member = try cluster.recruit(name, inPlaceOf: left)
        let peer = HostPort(host: "127.0.0.1", port: member.peerPort)
        let api = HostPort(host: "127.0.0.1", port: member.apiPort)
        let change = try await eventually("the address of whoever left") {
            do {
                return try await client.addMember(name, peer: peer, api: api)
            } catch let error as EsperError where error.code == "member_exists" {
                return nil
            }
        }
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
