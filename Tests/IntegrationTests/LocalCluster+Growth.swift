import ClusterSupport
import EsperClient
import EsperTypes
import TestSupport
import Testing

extension LocalCluster {
    /// Takes a new node in, starts it and gives it a vote when the cluster says that it has caught up.
    func grow(by name: String) async throws {
        let client = try EsperClient(settingsFile: clientFile, options: ClientOptions())
        defer { client.close() }
        var member = try recruit(name)
        let change = try await client.addMember(
            name, peer: HostPort(host: "127.0.0.1", port: member.peerPort),
            api: HostPort(host: "127.0.0.1", port: member.apiPort))
        member.id = try #require(change.ids.first.flatMap { NodeID($0) })
        try join(member)
        try await until("a vote for \(name)") {
            do {
                _ = try await client.promoteMembers([name])
                return true
            } catch let error as EsperError where ["not_heard", "not_caught_up", "change_pending"].contains(error.code)
            {
                return false
            }
        }
    }
}
