import ClusterSupport
import EsperClient
import EsperTypes
import TestSupport
import Testing

extension LocalCluster {
    /// Takes a new node in and starts it; it has no vote yet.
    func admit(_ name: String) async throws {
        let client = try EsperClient(settingsFile: clientFile, options: ClientOptions())
        defer { client.close() }
        var member = try recruit(name)
        let change = try await client.addMember(
            name, peer: HostPort(host: "127.0.0.1", port: member.peerPort),
            api: HostPort(host: "127.0.0.1", port: member.apiPort))
        member.id = try #require(change.ids.first.flatMap { NodeID($0) })
        try join(member)
    }

    /// Takes a new node in, starts it and gives it a vote.
    func grow(by name: String) async throws {
        try await admit(name)
        let client = try EsperClient(settingsFile: clientFile, options: ClientOptions())
        defer { client.close() }
        try await caughtUp("a vote for \(name)") { _ = try await client.promoteMembers([name]) }
    }

    /// Asks for a change until learners that it is about have caught up.
    func caughtUp(_ what: String, _ change: () async throws -> Void) async throws {
        try await until(what) {
            do {
                try await change()
                return true
            } catch let error as EsperError where ["not_heard", "not_caught_up", "change_pending"].contains(error.code)
            {
                return false
            }
        }
    }
}
