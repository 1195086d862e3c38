import ClusterSupport
import EsperClient
import EsperTypes
import Foundation
import TestSupport
import Testing

/// Members come and go while clients write: real processes, real disks, mutual TLS.
@Suite(.serialized, .timeLimit(.minutes(4)))
struct MembershipTests {
    private func client(_ cluster: LocalCluster) throws -> EsperClient {
        try EsperClient(settingsFile: cluster.clientFile, options: ClientOptions())
    }

    /// Writes numbered keys until told to stop; what was acknowledged is in the cluster for good.
    private func underLoad(_ cluster: LocalCluster, _ body: (EsperClient) async throws -> Void) async throws {
        let client = try client(cluster)
        defer { client.close() }
        try await until("a first write") { (try? await client.put(Array("load/first".utf8), Array("0".utf8))) != nil }
        let writer = Task { () -> [String] in
            var acknowledged: [String] = []
            var number = 0
            while !Task.isCancelled {
                number += 1
                let key = "load/\(number)"
                if (try? await client.put(Array(key.utf8), Array("\(number)".utf8))) != nil { acknowledged.append(key) }
            }
            return acknowledged
        }
        do {
            try await body(client)
        } catch {
            writer.cancel()
            _ = await writer.value
            throw error
        }
        writer.cancel()
        let acknowledged = await writer.value
        #expect(acknowledged.count > 10)
        let reader = try self.client(cluster)
        defer { reader.close() }
        for key in acknowledged {
            let found = try await reader.get(Array(key.utf8))
            #expect(found.0 != nil, "\(key) was acknowledged and is lost")
        }
    }

    @Test func `a fourth and a fifth node are taken in under load, and the leader is removed`() async throws {
        try await LocalCluster.run(3) { cluster in
            try await underLoad(cluster) { client in
                try await cluster.grow(by: "n4")
                try await cluster.grow(by: "n5")
                let status = try await client.status()
                #expect(status.members.filter(\.isVoter).map(\.name) == ["n1", "n2", "n3", "n4", "n5"])
                let leader = try await eventually("a leader") {
                    let leader = try await client.status().leader
                    return leader.isEmpty ? nil : leader
                }
                _ = try await client.removeMembers([leader])
                try await until("its place") {
                    try await client.status().members.allSatisfy { $0.name != leader }
                }
                try await until("the reason in its log") {
                    cluster.log(of: leader).contains("was removed from the cluster")
                }
                let unknown = await #expect(throws: EsperError.self) { _ = try await client.promoteMembers(["n9"]) }
                #expect(unknown?.code == "unknown_member")
                #expect(unknown?.message.contains("n5") == true)
            }
        }
    }

    @Test func `two voters are replaced at once under load, the leader among them`() async throws {
        try await LocalCluster.run(3) { cluster in
            try await underLoad(cluster) { client in
                try await cluster.admit("n4")
                try await cluster.admit("n5")
                let leader = try await eventually("a leader") {
                    let leader = try await client.status().leader
                    return leader.isEmpty ? nil : leader
                }
                let other = try #require(["n1", "n2", "n3"].first { $0 != leader })
                let unknown = await #expect(throws: EsperError.self) {
                    _ = try await client.replaceMembers([(leader, "n4"), (other, "n9")])
                }
                #expect(unknown?.code == "unknown_member")
                let voters = try await client.status().members.filter(\.isVoter).map(\.name)
                #expect(voters == ["n1", "n2", "n3"], "all or none")

                try await cluster.caughtUp("two new voters") {
                    let done = try await client.replaceMembers([(leader, "n4"), (other, "n5")])
                    #expect(done.ids.count == 2)
                }
                let stayed = try #require(["n1", "n2", "n3"].first { $0 != leader && $0 != other })
                try await until("three members") {
                    let members = try await client.status().members
                    return members.filter(\.isVoter).map(\.name) == [stayed, "n4", "n5"] && members.count == 3
                }
            }
        }
    }

    @Test func `a voter with an emptied disk is refused, and both logs say how to come back`() async throws {
        try await LocalCluster.run(3) { cluster in
            let client = try client(cluster)
            defer { client.close() }
            try await until("a first write") { (try? await client.put(Array("key".utf8), Array("value".utf8))) != nil }
            try await until("a view of all") { try await client.status().members.allSatisfy(\.isReachable) }
            let leader = try await client.status().leader
            let victim = try #require(cluster.members.map(\.name).first { $0 != leader })
            await cluster.kill(victim)
            try FileManager.default.removeItem(atPath: cluster.dataDirectory(of: victim))
            try cluster.start(victim, initialize: true)
            let advice = "esper cluster remove"
            try await until("the reason in its log") { cluster.log(of: victim).contains(advice) }
            try await until("the reason in another log") {
                cluster.members.contains { $0.name != victim && cluster.log(of: $0.name).contains(advice) }
            }
            _ = try await client.put(Array("key".utf8), Array("after".utf8))
        }
    }
}
